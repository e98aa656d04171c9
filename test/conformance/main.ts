import { codec } from './codec.ts';
import { compile } from './compile.ts';
import { CORPUS, corpusExists, type Outcome } from './corpus.ts';
import { decompile } from './decompile.ts';
import { ipvsadm } from './ipvsadm.ts';
import { kernel } from './kernel.ts';
import { text } from './text.ts';

/** The ways to use the recordings (README.md beside them), each a list of what it found in each file. */
const WAYS: Record<string, (() => Outcome[] | Promise<Outcome[]>) | undefined> = {
  codec,
  kernel,
  compile,
  decompile,
  text,
  ipvsadm,
};

const SHOWN = 10;

async function main(): Promise<number> {
  if (!corpusExists()) {
    console.log(`conformance: no recordings at ${CORPUS} (NETSTEER_CORPUS): nothing was tried`);
    return 0;
  }
  let failed = 0;
  for (const run of Object.values(WAYS)) {
    for (const { way, file, total, failures } of (await run?.()) ?? []) {
      console.log(`${way} ${file} ${total - failures.length}/${total}`);
      for (const { name, difference } of failures.slice(0, SHOWN)) console.log(`  ${name}\n    ${difference}`);
      if (failures.length > SHOWN) console.log(`  and ${failures.length - SHOWN} more`);
      failed += failures.length;
    }
  }
  const missing = Object.keys(WAYS).filter(way => WAYS[way] === undefined);
  if (missing.length > 0) console.log(`not built yet: ${missing.join(', ')}`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main();
