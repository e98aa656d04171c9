import { test } from 'vitest';
import { writeFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { Ipvs, type IpvsOperation } from '../../src/ipvs/index.ts';
import { Exchange } from '../../src/transport/index.ts';
import { MemoryWire, received, acknowledge, message } from '../support/memory-wire.ts';
test('x', async () => {
  const wire = new MemoryWire(d => {
    const view = new DataView(d.buffer, d.byteOffset);
    if (view.getUint16(4, true) === 0x10) {
      const r = received(d)[0]!;
      return [message(0x10, 0, r.sequence, w => { w.u32(0x101, true); const s = w.beginAttribute(1); w.u16(0x20, true); w.endAttribute(s); }), acknowledge(r)];
    }
    // last message only
    let at = 0, last = 0;
    while (at < d.length) { last = at; at += (view.getUint32(at, true) + 3) & ~3; }
    return [acknowledge(received(d.slice(last))[0]!)];
  });
  const ipvs = new Ipvs(new Exchange(wire, 'ipvs'));
  const ops: IpvsOperation[] = [];
  for (let i = 0; i < 2000; i++) {
    const key = { protocol: 'tcp' as const, address: `10.9.${i >> 8}.${i & 255}`, port: 80 };
    ops.push({ op: 'addService', service: { ...key, scheduler: 'wlc' } });
    for (let j = 1; j < 5; j++) ops.push({ op: 'addDestination', key, destination: { address: `10.1.${j}.9`, port: 80, forward: 'direct', weight: j } });
  }
  const session = new Session(); session.connect();
  await session.post('Profiler.enable'); await session.post('Profiler.setSamplingInterval', { interval: 200 });
  for (let r = 0; r < 12; r++) {
    if (r === 6) await session.post('Profiler.start');
    wire.sent.length = 0;
    const c0 = process.cpuUsage();
    const t = performance.now();
    ipvs.sync.apply(ops);
    const c = process.cpuUsage(c0);
    console.log('apply 10000', (performance.now() - t).toFixed(1), 'cpu', ((c.user + c.system) / 1000).toFixed(1));
  }
  const { profile } = await session.post('Profiler.stop');
  const self = new Map<string, number>();
  const total = profile.samples!.length;
  const byId = new Map(profile.nodes.map(n => [n.id, n]));
  for (const s of profile.samples!) { const n = byId.get(s)!; const k = `${n.callFrame.functionName} ${n.callFrame.url.split('/').slice(-2).join('/')}:${n.callFrame.lineNumber}`; self.set(k, (self.get(k) ?? 0) + 1); }
  for (const [k, v] of [...self].sort((a, b) => b[1] - a[1]).slice(0, 30)) console.log(((100 * v) / total).toFixed(1), k);
}, 60000);
