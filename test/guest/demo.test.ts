import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, it } from 'vitest';
import { kernelSuite } from '../support/where.ts';

const folders = () => fs.readdirSync(tmpdir()).filter(name => /^netsteer-web/.test(name));

/** The processes that run inside a web container of the demo. */
function inContainers(): string[] {
  return fs.readdirSync('/proc').filter(pid => {
    try {
      return /^\d+$/.test(pid) && fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('HELLO,This is');
    } catch {
      return false;
    }
  });
}

kernelSuite('the demo', () => {
  it('removes everything on Ctrl-C and exits with a status other than 0', async () => {
    const demo = spawn(process.execPath, ['build/demo.js', '--here'], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [demo.stdout, demo.stderr]) {
      stream.on('data', chunk => {
        output += chunk;
      });
    }
    const ended = once(demo, 'close');
    await expect.poll(() => output).toContain('[4]');
    expect(inContainers()).toHaveLength(2);
    expect(folders()).toHaveLength(2);
    demo.kill('SIGINT');
    const [code] = await ended;
    expect(code, output).toBe(1);
    expect(output).toContain('interrupted by SIGINT');
    expect(inContainers()).toEqual([]);
    expect(folders()).toEqual([]);
  });
});
