import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The checkout, wherever in it this module has been bundled to. */
export const ROOT = (() => {
  let directory = import.meta.dirname;
  while (!existsSync(join(directory, 'package.json'))) directory = dirname(directory);
  return directory;
})();

/** What programs include: they are compiled anew when it changes. */
const HEADERS = ['floor.h', 'new-namespace.h'].map(file => join(ROOT, 'native', file));

/** Compiles native/NAME.c where it has not been, and returns the program. @throws Error with what the compiler says, or that there is none */
export function nativeProgram(name: string): string {
  const source = join(ROOT, 'native', `${name}.c`);
  const program = join(ROOT, 'build', name);
  const changed = Math.max(...[source, ...HEADERS].map(file => statSync(file).mtimeMs));
  if (existsSync(program) && statSync(program).mtimeMs > changed) return program;
  mkdirSync(join(ROOT, 'build'), { recursive: true });
  // Tests run at the same time: none may find half a program.
  const own = `${program}.${process.pid}`;
  const { status, error, stderr } = spawnSync('cc', ['-O2', '-o', own, source], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${name} cannot be compiled: ${error?.message ?? stderr.trim()}`);
  renameSync(own, program);
  return program;
}
