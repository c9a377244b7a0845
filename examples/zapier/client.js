/** The address of a route on the user's own server. */
export const address = (bundle, path) => bundle.authData.url.trim().replace(/\/+$/, '') + path;

/** Before each request: the key, for the user's own server and nobody else. */
export const identify = (request, z, bundle) => {
  const { url, api_key: key } = bundle.authData;
  if (url && key && request.url.startsWith(address(bundle, '/api/'))) {
    request.headers.Authorization = `Bearer ${key}`;
  }
  return request;
};

/**
 * After each answer: the server's own words about what was wrong (RFC 9457), for the user to read.
 *
 * 401 and 429 are left to Zapier, which asks for a new key or waits as long as it is told to.
 */
export const explainRefusal = (response, z) => {
  const { status } = response;
  if (status < 400 || status === 401 || status === 429 || response.skipThrowForStatus) {
    return response;
  }
  let problem;
  try {
    problem = z.JSON.parse(response.content);
  } catch {
    return response;
  }
  if (!problem || !problem.detail) {
    return response;
  }
  const faults = (problem.errors ?? []).map((each) => `${each.pointer} ${each.message}`);
  throw new z.errors.Error([problem.detail, ...faults].join('; '), problem.code, status);
};
