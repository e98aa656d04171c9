import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { accept, Transaction, table, tcp } from 'netsteer/nftables';
import { expect, test } from 'vitest';

const operationsOf = (transaction: Transaction) =>
  transaction.operations.map(({ verb, subject }) => ({ verb, subject }));

test('objects by their place are the objects of a transaction', () => {
  const web = table('inet', 'web', { comment: 'ours' });
  const input = web.chain('input', { type: 'filter', hook: 'input', priority: 0 });
  const ports = web.set('ports', { key: 'inet_service' });
  const services = web.map('services', { key: 'inet_service', data: 'verdict' });
  const rule = [tcp.dport.in(ports.reference), accept()];
  const byPlace = new Transaction()
    .create(web)
    .add(input)
    .add(ports)
    .add(services)
    .add(ports.elements([80]))
    .add(services.elements([{ key: 22, data: { verdict: 'accept' } }]))
    .add(input.rule(rule, { comment: 'web' }))
    .add(web.rule('input', rule))
    .add(web.object('counter', 'hits'))
    .add(web.flowtable('fast', { hook: 'ingress', priority: 0, devices: ['eth0'] }))
    .flush(input)
    .delete(web.object('counter', 'hits'))
    .delete(ports);
  const place = { family: 'inet', table: 'web' } as const;
  const set = { ...place, name: 'ports', key: 'inet_service' } as const;
  const chain = { ...place, name: 'input', type: 'filter', hook: 'input', priority: 0 } as const;
  const whole = new Transaction()
    .create({ table: { family: 'inet', name: 'web', comment: 'ours' } })
    .add({ chain })
    .add({ set })
    .add({ map: { ...place, name: 'services', key: 'inet_service', data: 'verdict' } })
    .add({ element: { ...place, set: 'ports', elements: [80] } })
    .add({ element: { ...place, set: 'services', elements: [{ key: 22, data: { verdict: 'accept' } }] } })
    .add({ rule: { ...place, chain: 'input', statements: rule, comment: 'web' } })
    .add({ rule: { ...place, chain: 'input', statements: rule } })
    .add({ counter: { ...place, name: 'hits' } })
    .add({ flowtable: { ...place, name: 'fast', hook: 'ingress', priority: 0, devices: ['eth0'] } })
    .flush({ chain })
    .delete({ counter: { ...place, name: 'hits' } })
    .delete({ set });
  expect(operationsOf(byPlace)).toEqual(operationsOf(whole));
  expect(byPlace.encode().chunks).toEqual(whole.encode().chunks);
});

test('a place names what readings ask for', () => {
  const web = table('ip', 'web');
  expect(web.place).toEqual({ family: 'ip', table: 'web' });
  expect(web.chain('input').place).toEqual({ family: 'ip', table: 'web', chain: 'input' });
  expect(web.set('ports').reference).toBe('@ports');
  expect(web.map('services').reference).toBe('@services');
});

test('objects by their place have one shape for the engine, so that reading thousands of them is fast', () => {
  setFlagsFromString('--allow-natives-syntax');
  const haveOneShape = runInNewContext('(a, b) => %HaveSameMap(a, b)') as (a: object, b: object) => boolean;
  // The engine gives spread objects shapes of their own from the ninth on.
  const made = Array.from({ length: 20 }, (_, i) => {
    const name = `n${i}`;
    const place = table('inet', name, { comment: 'ours' });
    const chain = place.chain(name, { type: 'filter', hook: 'input', priority: 0 });
    return [
      place.table,
      chain.chain,
      place.chain(name).chain,
      chain.rule([accept()]).rule,
      chain.rule([accept()], { comment: name }).rule,
      place.set(name, { key: 'mark' }).set,
      place.map(name, { key: 'mark', data: 'verdict' }).map,
      place.set(name, { key: 'mark' }).elements([1]).element,
      place.object('counter', name).counter,
    ];
  });
  const [last = [], before = []] = made.reverse();
  expect(last.map((each, i) => haveOneShape(each, before[i]!))).toEqual(last.map(() => true));
});
