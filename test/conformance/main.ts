import { codec } from './codec.ts';
import { compile, parse } from './compile.ts';
import { absence, CORPUS, corpusExists, type Outcome } from './corpus.ts';
import { decompile } from './decompile.ts';
import { documents } from './documents.ts';
import { echo } from './echo.ts';
import { iptables } from './iptables.ts';
import { iptablesCommands, iptablesRefuse } from './iptables-commands.ts';
import { iptablesTranslate } from './iptables-translate.ts';
import { ipvsadm } from './ipvsadm.ts';
import { kernel } from './kernel.ts';
import { lines } from './lines.ts';
import { load } from './load.ts';
import { parseScripts } from './parse-scripts.ts';
import { printParse } from './print-parse.ts';
import { readings } from './readings.ts';
import { reconcile } from './reconcile.ts';
import { refuse } from './refuse.ts';
import { templates } from './templates.ts';
import { text } from './text.ts';

/** The ways to use the recordings (README.md beside them), each a list of what it found in each file. */
const WAYS: Readonly<Record<string, () => Outcome[] | Promise<Outcome[]>>> = {
  codec,
  kernel,
  readings,
  compile,
  parse: async () => [...parse(), ...(await parseScripts())],
  'print-parse': printParse,
  echo,
  decompile,
  text,
  documents,
  templates,
  lines,
  reconcile,
  load,
  refuse,
  'iptables-commands': iptablesCommands,
  'iptables-refuse': iptablesRefuse,
  'iptables-translate': iptablesTranslate,
  ipvsadm,
  iptables,
};

const SHOWN = 10;

/** The ways that are named, or all. */
async function main(named: readonly string[]): Promise<number> {
  const lacking = absence(CORPUS);
  if (lacking !== undefined) console.log(lacking);
  if (!corpusExists()) {
    console.log('Nothing was tried.');
    return 0;
  }
  const chosen = named.length > 0 ? named : Object.keys(WAYS);
  const unknown = chosen.filter(way => !Object.hasOwn(WAYS, way));
  if (unknown.length > 0) throw new Error(`no such way: ${unknown.join(', ')} (${Object.keys(WAYS).join(', ')})`);
  let failed = 0;
  for (const name of chosen) {
    for (const { way, file, total, failures } of await WAYS[name]!()) {
      console.log(`${way} ${file} ${total - failures.length}/${total}`);
      for (const { name, difference } of failures.slice(0, SHOWN)) console.log(`  ${name}\n    ${difference}`);
      if (failures.length > SHOWN) console.log(`  and ${failures.length - SHOWN} more`);
      failed += failures.length;
    }
  }
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
