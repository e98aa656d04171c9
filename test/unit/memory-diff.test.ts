import fs from 'node:fs';
import { test } from 'vitest';
import { MemoryKernel } from '../../src/testing/index.ts';
import { EXPRESSION_MODULES } from '../../src/testing/nf_tables/expressions/index.ts';
import { filesLike, readLines } from '../conformance/corpus.ts';
import { type Case, comparable, nameOf, prepared } from '../conformance/kernel.ts';
import { Place } from '../conformance/place.ts';

test('differential', { timeout: 3e6 }, async () => {
  const out: string[] = [];
  const real = new Place();
  const memory = new Place(
    MemoryKernel.create({ release: '6.18', modules: EXPRESSION_MODULES.filter(n => n !== 'nft_queue') }).container('x')
      .netns,
  );
  for (const file of filesLike(new RegExp(process.env.FILES ?? '-(rules|rulesets)\\.jsonl\\.gz$'))) {
    let ok = 0,
      all = 0;
    for (const one of readLines<Case>(file)) {
      if ((one.sent ?? []).length === 0) continue;
      all++;
      try {
        real.empty();
        memory.empty();
        const r: unknown[] = [prepared(real, one)],
          m: unknown[] = [prepared(memory, one)];
        for (const batch of one.sent!) {
          r.push(real.refusals(batch));
          m.push(memory.refusals(batch));
        }
        if (JSON.stringify(r) !== JSON.stringify(m)) {
          out.push(`${file} ${nameOf(one)}\n   kernel ${JSON.stringify(r)}\n   memory ${JSON.stringify(m)}`);
          continue;
        }
        const [e, a] = [comparable(real.ruleset()), comparable(memory.ruleset())];
        const i = e.findIndex((l, i) => l !== a[i]);
        if (i >= 0 || a.length > e.length) out.push(`${file} ${nameOf(one)}\n   kernel ${e[i]}\n   memory ${a[i]}`);
        else ok++;
      } catch (error) {
        out.push(`${file} ${nameOf(one)}\n   threw ${(error as Error).stack?.slice(0, 600)}`);
      }
    }
    console.log(file, ok, all);
  }
  fs.writeFileSync('/tmp/memory-diff.txt', out.join('\n'));
});
