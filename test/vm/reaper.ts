import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';

/** Reads process groups until its input ends, which the kernel sees to however this process dies, SIGKILL included. */
const SCRIPT = `groups=
while read -r group; do groups="$groups -$group"; done
[ -z "$groups" ] || kill -KILL -- $groups 2>/dev/null
rm -rf -- "$@"`;

/**
 * Child processes and files that must not outlive this process.
 *
 * A shell of its own session holds the other end of a pipe and cleans up when that closes. So neither Ctrl-C (which
 * a terminal sends to the whole foreground group), nor a test runner's process.exit, nor the OOM killer leaves an
 * emulator running, and no signal handler is needed, which worker threads could not have anyway.
 */
export class Reaper {
  readonly #shell: ChildProcess;
  readonly #paths: readonly string[];
  readonly #children: ChildProcess[] = [];

  /** @param paths files and directories to remove in the end; absolute, and need not exist */
  constructor(paths: readonly string[]) {
    this.#paths = paths;
    this.#shell = spawn('sh', ['-c', SCRIPT, 'sh', ...paths], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    this.#shell.on('error', () => {});
    this.#shell.stdin?.on('error', () => {});
  }

  /** Starts a program in a session of its own, without input; its output can be read from the returned process. What it starts ends with it. */
  spawn(file: string, args: readonly string[]): ChildProcess {
    const child = spawn(file, args, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#children.push(child);
    if (child.pid) this.#shell.stdin?.write(`${child.pid}\n`);
    return child;
  }

  /** Kills what still runs and removes the paths; resolves when both is done. */
  async end(): Promise<void> {
    try {
      for (const child of this.#children) await killed(child);
      await Promise.all(this.#paths.map(path => rm(path, { recursive: true, force: true })));
    } finally {
      await killed(this.#shell);
    }
  }
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
  await exit;
}
