/**
 * The integration as Zapier runs it, against a server that runs:
 *
 *     TRIGGERS_URL=http://127.0.0.1:8000 TRIGGERS_API_KEY=… npm test
 *
 * The server must be allowed to call this machine: TRIGGERS_ALLOW_CIDRS=127.0.0.0/8.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, describe, it } from 'node:test';

import zapier from 'zapier-platform-core';
import schema from 'zapier-platform-schema';

import App from '../index.js';

const url = process.env.TRIGGERS_URL;
const key = process.env.TRIGGERS_API_KEY;
assert.ok(url && key, 'TRIGGERS_URL and TRIGGERS_API_KEY say which server to use');

const run = zapier.createAppTester(App);
const authData = { url, api_key: key };
const { event, polled_event: polled, event_type: eventType } = App.triggers;
const { send_event: sendEvent } = App.creates;

/** A type that nobody else uses. */
const newType = () => `zapier.${randomUUID()}`;

const send = (type, payload, more = {}) =>
  run(sendEvent.operation.perform, {
    authData,
    inputData: { event_type: type, payload, ...more },
  });

const refusal = async (promise) => {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail('it was not refused');
};

describe('the definition', () => {
  it('is one that Zapier takes', () => {
    const { errors } = schema.validateAppDefinition(
      JSON.parse(
        JSON.stringify(App, (_, value) =>
          typeof value === 'function' ? { source: 'return []' } : value,
        ),
      ),
    );
    assert.deepEqual(errors, []);
  });
});

describe('the connection', () => {
  it('is tested with the key, and labelled with the name of the organization', async () => {
    const tested = await run(App.authentication.test, { authData });
    assert.equal(typeof tested.name, 'string');
    assert.match(tested.id, /^org_/);
  });

  it('takes an address with a slash at its end', async () => {
    const tested = await run(App.authentication.test, { authData: { url: `${url}/`, api_key: key } });
    assert.match(tested.id, /^org_/);
  });

  it('with a wrong key is refused with 401, by which Zapier asks for another one', async () => {
    const wrong = { url, api_key: 'a-key-that-nobody-has' };
    const error = await refusal(run(App.authentication.test, { authData: wrong }));
    assert.equal(JSON.parse(error.message).status, 401);
  });
});

describe('sending an event', () => {
  it('stores it', async () => {
    const sent = await send(newType(), { total: 99.5 });
    assert.match(sent.id, /^evt_/);
    assert.equal(sent.duplicate, false);
  });

  it('twice with one deduplication id stores one', async () => {
    const type = newType();
    const first = await send(type, { n: 1 }, { dedup_id: type });
    const second = await send(type, { n: 1 }, { dedup_id: type });
    assert.equal(second.id, first.id);
    assert.equal(second.duplicate, true);
  });

  it('says what was wrong with it, in the words of the server', async () => {
    const error = await refusal(send('not a type', {}));
    assert.match(error.message, /type/);
    assert.match(error.message, /422/);
    assert.match(error.message, /validation-failed/);
  });
});

describe('choosing a type', () => {
  it('offers what has come in, each once, by its name', async () => {
    const type = newType();
    await send(type, {});
    await send(type, {});
    const found = await run(eventType.operation.perform, { authData });
    assert.equal(found.filter((each) => each.id === type).length, 1);
    assert.deepEqual(
      found.map((each) => each.id),
      found.map((each) => each.id).sort(),
    );
  });

  it('offers what is registered, with its description, and shows its example', async () => {
    const type = newType();
    const registered = await fetch(`${url}/api/event-types/${type}`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ description: 'Somebody ordered.', example: { total: 99.5 } }),
    });
    assert.ok(registered.ok, await registered.text());
    const found = await run(eventType.operation.perform, { authData });
    assert.deepEqual(
      found.filter((each) => each.id === type),
      [{ id: type, name: type, description: 'Somebody ordered.' }],
    );
    const [sample] = await run(event.operation.performList, {
      authData,
      inputData: { event_type: type },
    });
    assert.equal(sample.type, type);
    assert.equal(sample.total, 99.5);
  });
});

describe('the trigger that polls', () => {
  it('finds the newest events first, by ids that pass the checks of Zapier', async () => {
    const type = newType();
    const first = await send(type, { id: 1, n: 1 });
    const second = await send(type, { id: 1, n: 2 });
    const found = await run(polled.operation.perform, { authData, inputData: { event_type: type } });
    assert.deepEqual(found.map((each) => each.id), [second.id, first.id]);
    assert.deepEqual(found.map((each) => each.payload_id), [1, 1]);
  });

  it('finds nothing of a type that never was, and that is no error', async () => {
    const found = await run(polled.operation.perform, {
      authData,
      inputData: { event_type: newType() },
    });
    assert.deepEqual(found, []);
  });

  it('finds the same event under the same id each time', async () => {
    const type = newType();
    await send(type, { n: 1 });
    const bundle = { authData, inputData: { event_type: type } };
    assert.deepEqual(
      await run(polled.operation.perform, bundle),
      await run(polled.operation.perform, bundle),
    );
  });
});

describe('the trigger by hook', () => {
  /** What hooks.zapier.com is: answers 200, or 410 once the Zap is gone. */
  const received = [];
  let receiver;
  let targetUrl;
  let status = 200;

  before(async () => {
    receiver = http.createServer((request, response) => {
      const parts = [];
      request.on('data', (part) => parts.push(part));
      request.on('end', () => {
        received.push({
          method: request.method,
          path: request.url,
          // As Zapier hands them over.
          headers: Object.fromEntries(
            Object.entries(request.headers).map(([name, value]) => [
              name.startsWith('content-') ? name : `Http-${name}`,
              value,
            ]),
          ),
          content: Buffer.concat(parts).toString(),
        });
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end('{"status":"success"}');
        receiver.emit('received');
      });
    });
    receiver.listen(0, '127.0.0.1');
    await once(receiver, 'listening');
    targetUrl = `http://127.0.0.1:${receiver.address().port}/hooks/standard/1/`;
  });

  after(() => {
    receiver.close();
    receiver.closeAllConnections();
  });

  const arrived = async (path) => {
    for (;;) {
      const found = received.find((each) => each.path === path);
      if (found) {
        return found;
      }
      await once(receiver, 'received');
    }
  };

  const subscribe = (type, path) =>
    run(event.operation.performSubscribe, {
      authData,
      targetUrl: targetUrl + path,
      inputData: { event_type: type },
    });

  const unsubscribe = (subscribeData) =>
    run(event.operation.performUnsubscribe, { authData, subscribeData });

  const take = (request, subscribeData) =>
    run(event.operation.perform, {
      authData,
      subscribeData,
      rawRequest: request,
      cleanedRequest: JSON.parse(request.content),
    });

  it('subscribes, takes what arrives, and shows samples of the same shape', async () => {
    const type = newType();
    const subscribeData = await subscribe(type, 'a');
    assert.match(subscribeData.id, /^sub_/);
    const sent = await send(type, { id: 7, total: 99.5, lines: [{ sku: 'A' }] });
    const request = await arrived('/hooks/standard/1/a');
    const taken = await take(request, subscribeData);
    assert.deepEqual(taken, [
      {
        id: sent.id,
        type,
        received_at: sent.received_at,
        payload_id: 7,
        total: 99.5,
        lines: [{ sku: 'A' }],
      },
    ]);
    const samples = await run(event.operation.performList, {
      authData,
      inputData: { event_type: type },
    });
    assert.deepEqual(samples, taken);
    await unsubscribe(subscribeData);
    await unsubscribe(subscribeData);
  });

  it('shows a sample for a type of which nothing has come in, with what every event has', async () => {
    const type = newType();
    const bundle = { authData, inputData: { event_type: type } };
    const samples = await run(event.operation.performList, bundle);
    assert.equal(samples.length, 1);
    assert.equal(samples[0].type, type);
    assert.deepEqual(Object.keys(samples[0]), Object.keys(event.operation.sample));
    assert.deepEqual(await run(event.operation.performList, bundle), samples);
  });

  it('has samples that pass the checks that Zapier runs on a trigger that polls', async () => {
    const type = newType();
    await send(type, { id: null });
    await send(type, [1, 2]);
    await send(type, {});
    const checked = (perform) => {
      const samples = { ...polled, key: 'samples', operation: { ...polled.operation, perform } };
      const app = { ...App, triggers: { samples } };
      return zapier.createAppTester(app)(perform, { authData, inputData: { event_type: type } });
    };
    const list = (z, bundle) => event.operation.performList(z, bundle);
    assert.equal((await checked(list)).length, 3);
    // And they are run: without ids, or with one id for all, it is refused.
    for (const id of [undefined, 'the same']) {
      const spoilt = async (z, bundle) => (await list(z, bundle)).map((each) => ({ ...each, id }));
      assert.equal((await refusal(checked(spoilt))).name, 'CheckError');
    }
  });

  it('refuses what was not signed with its secret', async () => {
    const type = newType();
    const subscribeData = await subscribe(type, 'signed');
    await send(type, { n: 1 });
    const request = await arrived('/hooks/standard/1/signed');
    assert.equal((await take(request, subscribeData)).length, 1);
    const forged = { ...request, content: request.content.replace('"n":1', '"n":2') };
    assert.notEqual(forged.content, request.content);
    const error = await refusal(take(forged, subscribeData));
    assert.equal(error.name, 'HaltedError');
    await unsubscribe(subscribeData);
  });

  it('subscribed twice is subscribed once', async () => {
    const type = newType();
    const first = await subscribe(type, 'twice');
    const second = await subscribe(type, 'twice');
    assert.equal(second.id, first.id);
    await unsubscribe(first);
  });

  it('ends when Zapier answers that the Zap is gone, and can be subscribed anew', async () => {
    const type = newType();
    const first = await subscribe(type, 'gone');
    status = 410;
    await send(type, { n: 1 });
    await arrived('/hooks/standard/1/gone');
    status = 200;
    let again = first;
    while (again.id === first.id) {
      // The outcome is on file a moment after the answer.
      again = await subscribe(type, 'gone');
    }
    await unsubscribe(first);
    await unsubscribe(again);
  });

  it('says why a target is not acceptable', async () => {
    const error = await refusal(
      run(event.operation.performSubscribe, {
        authData,
        targetUrl: 'http://169.254.169.254/',
        inputData: { event_type: 'a' },
      }),
    );
    assert.match(error.message, /target_url/);
  });
});
