import path from 'node:path';
import { ROOT } from './native.ts';
import { complaints, type PublicApi, programOf } from './public-api.ts';

/** Handles that the example of a docstring may use as they are, and the types that they have. */
const KNOWN: Record<string, string> = {
  netns: "import('netsteer/netns').NetNs",
  ipvs: "import('netsteer/ipvs').Ipvs",
  nft: "import('netsteer/nftables').Nftables",
  nflog: "import('netsteer/nflog').Nflog",
  ct: "import('netsteer/conntrack').Conntrack",
  links: "import('netsteer/rtnetlink').Links",
  tx: "import('netsteer/nftables').Transaction",
  container: "import('netsteer/container').Container",
  web1: "import('netsteer/container').Container",
  fleet: "import('netsteer/container').Fleet",
  exchange: "import('netsteer/netlink').Exchange",
};

/** Modules of Node, by the names that examples call them. */
const OF_NODE: Record<string, string> = {
  fs: "import fs from 'node:fs';",
  os: "import os from 'node:os';",
  readFile: "import { readFile } from 'node:fs/promises';",
};

/**
 * The code of a docstring's example as a module. Names that the package exports are imported, those of the example's own entry point first, and
 * the handles above are declared, where the code neither imports nor declares them itself.
 */
function moduleOf(entry: string, code: string, exported: PublicApi['exported']): string {
  const lines = code.replace(/^```\w*\n?|```$/gm, '').split('\n');
  const imports = lines.filter(line => line.startsWith('import '));
  const body = lines.filter(line => !line.startsWith('import '));
  const words = new Set(body.join('\n').match(/(?<![.\w$'"`/-])[A-Za-z_$][\w$]*/g) ?? []);
  const own = new Set(
    [
      ...`${imports.join('\n')}`.matchAll(/\w+/g),
      ...body.join('\n').matchAll(/(?:const|let|function|class|using) (\w+)/g),
    ].map(match => match[1] ?? match[0]),
  );
  for (const [, list] of body.join('\n').matchAll(/(?:const|let) [[{]([^=]*)[\]}] =/g)) {
    for (const name of list!.match(/\w+/g) ?? []) own.add(name);
  }
  const order = [entry, ...[...exported.keys()].filter(each => each !== entry)];
  const head: string[] = [];
  for (const word of words) {
    if (own.has(word)) continue;
    if (word in KNOWN) head.push(`declare const ${word}: ${KNOWN[word]};`);
    else if (word in OF_NODE) head.push(OF_NODE[word]!);
    else {
      const from = order.find(each => exported.get(each)!.has(word));
      const type = from !== undefined && exported.get(from)!.get(word) ? '' : 'type ';
      if (from !== undefined) head.push(`import { ${type}${word} } from '${from}';`);
    }
  }
  return [...head, ...imports, 'export async function example() {', ...body, '}', ''].join('\n');
}

/** What the compiler has against the examples of docstrings: one line for each complaint, which names the example. */
export function exampleComplaints({ names, exported }: PublicApi): string[] {
  const texts = new Map<string, string>();
  for (const { name, examples } of names) {
    examples.forEach((code, index) => {
      const file = path.join(ROOT, 'docstrings', `${name.replaceAll('/', '.')}${index || ''}.ts`);
      texts.set(file, moduleOf(name.split(' ')[0]!, code, exported));
    });
  }
  return complaints(programOf([], texts), texts.keys());
}
