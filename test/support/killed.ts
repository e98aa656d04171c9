import { type ChildProcess, spawn } from 'node:child_process';
import { compiledSources } from './compiled.ts';
import { Random } from './fuzz/random.ts';
import { anyMoment, inTime } from './wait.ts';

/** Something that a process does again and again until it is killed. */
export interface Scenario<W> {
  /** What it works on; taken back by `unmake`. */
  make(): W | Promise<W>;
  unmake(world: W): unknown;
  /**
   * The program, as an ES module among the sources. It has `world` from `given`, calls `began()` when it has done what it does for the first
   * time, and goes on.
   */
  program: string;
  given(world: W): unknown;
  /** Throws where the kernel holds what it must not; tells what it holds. */
  check(world: W): string | Promise<string>;
  /** Does what the next run does. */
  next(world: W): unknown;
}

/** A program that has not begun by then will not. */

const PRELUDE = `
const world = JSON.parse(process.env.WORLD);
const began = () => { process.stdout.write('.'); };
`;

/** Runs the program and kills it some milliseconds after it has begun, so many times. Returns how often the kernel held what afterwards. */
export async function killOften<W>(
  scenario: Scenario<W>,
  times: number,
  atOnce: number,
  seed: number,
): Promise<Map<string, number>> {
  const random = new Random(seed);
  const held = new Map<string, number>();
  let left = times;
  const worker = async () => {
    while (left-- > 0) {
      const delay = (random.u32() % 60_000) / 1000;
      const what = await killOnce(scenario, delay);
      held.set(what, (held.get(what) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: Math.min(times, atOnce) }, worker));
  return held;
}

async function killOnce<W>(scenario: Scenario<W>, delay: number): Promise<string> {
  const world = await scenario.make();
  try {
    const child = spawn(process.execPath, ['--input-type=module', '--eval', PRELUDE + scenario.program], {
      cwd: compiledSources(),
      env: { ...process.env, NODE_OPTIONS: '', WORLD: JSON.stringify(scenario.given(world)) },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    try {
      await begun(child);
      await anyMoment(delay);
      if (child.exitCode !== null) throw new Error(`the program has ended with ${child.exitCode}`);
    } finally {
      await kill(child);
    }
    const what = await scenario.check(world);
    await scenario.next(world);
    return what;
  } finally {
    await scenario.unmake(world);
  }
}

function begun(child: ChildProcess): Promise<void> {
  let said = '';
  child.stderr!.on('data', chunk => {
    said += chunk;
  });
  const beginning = new Promise<void>((resolve, reject) => {
    child.stdout!.once('data', () => resolve());
    child.once('close', code => reject(new Error(`the program ended with ${code}: ${said}`)));
  });
  return inTime(beginning, 'the program');
}

/** SIGKILL; resolves when the process is gone. */
function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return Promise.resolve();
  return new Promise(resolve => {
    child.once('close', () => resolve());
    child.kill('SIGKILL');
  });
}
