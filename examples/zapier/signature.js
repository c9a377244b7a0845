import { createHmac, timingSafeEqual } from 'node:crypto';

// Zapier hands most headers of a hook over with `Http-` before their names.
const header = (headers, name) => {
  const found = Object.entries(headers ?? {}).find(
    ([each]) => each.toLowerCase().replace(/^http-/, '') === name,
  );
  return found?.[1];
};

/**
 * Whether a hook was signed with its secret (Standard Webhooks, v1).
 *
 * The age of the signature is not looked at: Zapier may hold a hook back, or replay it days later.
 *
 * @param {{headers: object, content: string}} request `bundle.rawRequest`
 * @param {string} secret `whsec_…`, of the answer to the subscription
 */
export const isSigned = (request, secret) => {
  const id = header(request.headers, 'webhook-id');
  const timestamp = header(request.headers, 'webhook-timestamp');
  const signatures = header(request.headers, 'webhook-signature') ?? '';
  const expected = createHmac('sha256', Buffer.from(secret.replace(/^whsec_/, ''), 'base64'))
    .update(`${id}.${timestamp}.${request.content}`)
    .digest();
  return signatures.split(' ').some((each) => {
    const [version, encoded] = each.split(',');
    const given = Buffer.from(encoded ?? '', 'base64');
    return version === 'v1' && given.length === expected.length && timingSafeEqual(given, expected);
  });
};
