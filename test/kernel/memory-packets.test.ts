import fs from 'node:fs';
import { test } from 'vitest';
import { Nflog } from '../../src/nflog/index.ts';
import { Nftables } from '../../src/nftables/index.ts';
import { icmp, MemoryKernel, type TestPacket, tcp, udp } from '../../src/testing/index.ts';
import { filesLike, readLines } from '../conformance/corpus.ts';
import type { Case } from '../conformance/kernel.ts';
import { ForwardLab, MACS } from '../support/forward-lab.ts';
import { turns } from '../support/wait.ts';

/** A generator of random numbers with a seed. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const WATCH = `table inet watch {
  chain in {
 type filter hook input priority 2147483646
 log group 77
 }
  chain post {
 type filter hook postrouting priority 2147483646
 log group 77
 }
}`;

test('packets', { timeout: 3e6 }, async () => {
  const lab = new ForwardLab();
  const from = lab.from('o0');
  const kernel = MemoryKernel.create({ release: '6.18' });
  const links = [
    { name: 'i0', addresses: ['10.1.0.2/24', 'fd00:1::2/64'] },
    { name: 'i1', addresses: ['10.2.0.1/24', 'fd00:2::1/64'] },
  ];
  const inside = kernel.container('inside', { links });
  const memory = inside.netns;
  memory.sysctl.set('net.ipv4.ip_forward', '1');
  memory.sysctl.set('net.ipv6.conf.all.forwarding', '1');
  const nfts = [Nftables.open({ netns: lab.inside }), Nftables.open({ netns: memory })] as const;
  const logs = [lab.inside, memory].map(netns => Nflog.open({ netns, groups: [77], queue: { packets: 1 } }));
  const got: string[][] = [[], []];
  logs.forEach((log, i) => {
    log.onBatch(batch => {
      for (const p of batch) {
        const hex = Buffer.from(p.payload).toString('hex');
        if (
          hex[0] === '4' ? hex.slice(24, 32) === '0a010001' : hex.slice(16, 48) === 'fd000001000000000000000000000001'
        )
          got[i]!.push(hex);
      }
    });
  });
  const texts = filesLike(/^nft-1.1.6-rules/)
    .flatMap(file => readLines<Case>(file))
    .filter(one => one.rule !== undefined && ['ip', 'inet', 'ip6'].includes(one.family ?? ''));
  const out: string[] = [];
  const next = random(Number(process.env.SEED ?? 1));
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!;
  let same = 0,
    refused = 0,
    unmodelled = 0,
    packets = 0;
  for (let round = 0; round < Number(process.env.ROUNDS ?? 100); round++) {
    const hook = pick(['prerouting', 'input', 'forward', 'postrouting']);
    const family = pick(['ip', 'inet', 'ip6']);
    const rules: string[] = [];
    for (let i = 0; i < 4; i++) rules.push(pick(texts.filter(t => t.family === family)).rule!);
    const body = (list: string[]) =>
      `table ${family} t {\n chain c {\n type filter hook ${hook} priority 0\n${list.map(r => `${r}\ncounter`).join('\n')}\n}\n}\n`;
    const text = `flush ruleset\n${WATCH}\n`;
    const kept: string[] = [];
    for (const rule of rules) {
      try {
        await nfts[0].apply(text + body([rule]));
        kept.push(rule);
      } catch {
        refused++;
      }
    }
    if (kept.length === 0) continue;
    try {
      for (const nft of nfts) await nft.apply(text + body(kept));
    } catch (error) {
      out.push(`apply ${JSON.stringify(kept)}: ${(error as Error).message.slice(0, 300)}`);
      continue;
    }
    for (let i = 0; i < 8; i++) {
      const isV6 = next() < 0.3;
      const [a, b, c] = isV6 ? ['[fd00:1::1]', '[fd00:1::2]', '[fd00:2::2]'] : ['10.1.0.1', '10.1.0.2', '10.2.0.2'];
      const to = pick([b, c]);
      const port = () => pick([22, 53, 80, 443, 1234, 3333, 40000]);
      const bare = (s: string) => s.replace(/[[\]]/g, '');
      const packet: TestPacket = pick([
        () =>
          tcp({
            from: `${a}:${port()}`,
            to: `${to}:${port()}`,
            flags: pick([['syn'], ['ack'], ['syn', 'ack'], ['rst'], ['fin', 'ack']]) as never,
            ttl: pick([1, 2, 64]),
            window: pick([1, 22, 65535]),
          }),
        () =>
          udp({
            from: `${a}:${port()}`,
            to: `${to}:${port()}`,
            payload: 'x'.repeat(Math.floor(next() * 40)),
            ttl: pick([2, 64]),
          }),
        () => icmp({ from: bare(a!), to: bare(to!), type: isV6 ? pick([128, 129]) : pick([0, 8, 13]) }),
      ])();
      got[0]!.length = 0;
      got[1]!.length = 0;
      from.send(MACS.inside, MACS.third, isV6 ? 0x86dd : 0x0800, Buffer.from(packet.bytes, 'hex'));
      try {
        inside.receive(packet, { on: 'i0' });
      } catch (error) {
        unmodelled++;
        if (!/does not model/.test((error as Error).message)) out.push((error as Error).stack!);
        break;
      }
      await turns();
      const dumps = await Promise.all(
        nfts.map(async nft =>
          JSON.stringify((await nft.ruleset()).rules, (k, v) =>
            typeof v === 'bigint' ? String(v) : k === 'handle' ? undefined : v,
          ),
        ),
      );
      packets++;
      if (dumps[0] !== dumps[1] || got[0]!.join() !== got[1]!.join()) {
        const [k, m] = dumps.map(d =>
          JSON.parse(d)
            .filter((r: { table: string }) => r.table === 't')
            .map((r: { expressions: unknown }) => JSON.stringify(r.expressions)),
        );
        const at = k.findIndex((r: string, i: number) => r !== m[i]);
        out.push(
          `hook ${hook} ${family} ${JSON.stringify(kept)}\n packet ${packet.bytes}\n kernel ${got[0]}\n memory ${got[1]}\n rule ${at} before ${k[at - 1]}\n   ${k[at]}\n   ${m[at]}`,
        );
        break;
      } else same++;
    }
  }
  console.log({ same, packets, refused, unmodelled, wrong: out.length });
  fs.writeFileSync('/tmp/memory-packets.txt', out.join('\n\n'));
  for (const log of logs) await log.close();
  for (const nft of nfts) await nft[Symbol.asyncDispose]();
  lab.close();
});
