import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A container of runc's with namespaces of its own, in which one process sleeps. Its id is as those of docker and containerd. */
export class RuncContainer {
  readonly id = randomBytes(32).toString('hex');
  readonly pid: number;
  readonly #bundle = fs.mkdtempSync(join(tmpdir(), 'netsteer-runc-'));

  constructor() {
    const root = join(this.#bundle, 'root');
    for (const name of ['bin', 'proc']) fs.mkdirSync(join(root, name), { recursive: true });
    fs.copyFileSync('/usr/bin/busybox', join(root, 'bin', 'busybox'));
    fs.symlinkSync('busybox', join(root, 'bin', 'sleep'));
    const config = {
      ociVersion: '1.0.2',
      process: { cwd: '/', args: ['/bin/sleep', '1000'], user: { uid: 0, gid: 0 }, env: ['PATH=/bin'] },
      root: { path: root },
      mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
      linux: { namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'network' }] },
    };
    fs.writeFileSync(join(this.#bundle, 'config.json'), JSON.stringify(config));
    try {
      execFileSync('runc', ['run', '--detach', '--bundle', this.#bundle, this.id], { stdio: 'ignore' });
      this.pid = JSON.parse(execFileSync('runc', ['state', this.id], { encoding: 'utf8' })).pid;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    spawnSync('runc', ['delete', '--force', this.id], { stdio: 'ignore' });
    fs.rmSync(this.#bundle, { recursive: true, force: true });
  }
}
