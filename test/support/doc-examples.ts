import path from 'node:path';
import { ROOT } from './native.ts';
import { complaints, type PublicApi, programOf } from './public-api.ts';
import type { Snippet } from './snippets.ts';

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
  web2: "import('netsteer/container').Container",
  lvs: "import('netsteer/container').Container",
  lb: "import('netsteer/balancer').LoadBalancer",
  services: "readonly import('netsteer/balancer').BalancedService[]",
  cluster: "import('netsteer/cluster').Cluster",
  clusterService: "import('netsteer/cluster').ClusterService",
  running: "ReadonlyMap<string, import('netsteer/container').Container>",
  containers: "readonly import('netsteer/container').Container[]",
  fleet: "import('netsteer/container').Fleet",
  exchange: "import('netsteer/netlink').Exchange",
  ipt: "import('netsteer/iptables').Iptables",
  socket: "import('netsteer/netlink').NetlinkSocket",
  requests: "import('netsteer/netlink').EncodedRequests",
  genericFamily: "import('netsteer/netlink').GenericFamily<{ name: string }>",
  optionSocket: "import('netsteer/netlink').OptionSocket",
  lifetime: "import('netsteer/netlink').Lifetime",
  reader: "import('netsteer/netlink').GroupReader",
  budget: "import('netsteer/netlink').EventLoopBudget",
  observer: "import('netsteer/netlink').Observer",
  message: "import('netsteer/netlink').Message",
  source: "import('netsteer/netlink').Source",
  writer: "import('netsteer/netlink').Writer",
  table: "import('netsteer/netlink').AttributeTable<{ name: string; mtu?: number }>",
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
    // `table` is a function of netsteer/nftables, and elsewhere a table of attributes.
    if (word in KNOWN && !exported.get(entry)!.has(word)) head.push(`declare const ${word}: ${KNOWN[word]};`);
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

/** Builders of nft's statements without more: `[tcp.dport.eq(80), accept()]`. */
const isStatements = (code: string): boolean => code.startsWith('[');

/**
 * The snippet of a page as a module. It brings its imports itself; a handle of the list above may be one that the page has opened before. A list
 * of statements is checked as such.
 */
export function moduleOfSnippet({ code }: Snippet): string {
  if (isStatements(code)) {
    const words = new Set(code.match(/(?<![.\w$'])[a-z][A-Za-z0-9]*(?=[.(])/g) ?? []);
    const names = [...words, 'type Statement'];
    return `import { ${names.join(', ')} } from 'netsteer/nftables';\nexport const statements: Statement[] = ${code};\n`;
  }
  const imported = code.match(/^import [^;]*;/gm)?.join('\n') ?? '';
  const handles = Object.entries(KNOWN).filter(
    ([name]) =>
      new RegExp(`(?<![\\w.'])${name}(?![\\w':])`).test(code) &&
      !new RegExp(`\\b(const|let|using) (\\[[^\\]]*)?${name}\\b`).test(code) &&
      !new RegExp(`\\b${name}\\b`).test(imported),
  );
  return [...handles.map(([name, type]) => `declare const ${name}: ${type};`), code, 'export {};', ''].join('\n');
}
