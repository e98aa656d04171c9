import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type ts from 'typescript';
import { PATIENCE_MILLISECONDS } from './wait.ts';

/** From here, or from a program of `build/` that this is part of. */
const ROOT = fileURLToPath(new URL(import.meta.url.includes('/build/') ? '..' : '../..', import.meta.url));

/** Every module of src, as paths from there: 'codec/types.ts'. */
export function sourceModules(root = ROOT): string[] {
  return fs
    .readdirSync(path.join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.ts'))
    .sort();
}

const compiled = new Map<string, string>();

/**
 * The sources as plain JavaScript, module by module, for tests that need a process of their own: no Node of the supported ones runs
 * TypeScript everywhere. They are made once for each state of the sources, where the guests find them too: there it would take a minute.
 */
export function compiledSources(root = ROOT): string {
  const before = compiled.get(root);
  if (before !== undefined) return before;
  const texts = sourceModules(root).map(file => [file, fs.readFileSync(path.join(root, 'src', file), 'utf8')] as const);
  const state = createHash('sha256').update(JSON.stringify(texts)).digest('hex').slice(0, 16);
  const cache = path.join(ROOT, 'node_modules', '.cache', 'netsteer');
  const target = path.join(cache, state);
  const folder = fs.existsSync(target) ? target : compile(texts, cache, target);
  compiled.set(root, folder);
  return folder;
}

function compile(texts: readonly (readonly [file: string, text: string])[], cache: string, target: string): string {
  fs.mkdirSync(cache, { recursive: true });
  const directory = fs.mkdtempSync(path.join(cache, 'new-'));
  for (const [file, text] of texts) {
    const outputText = transpileSource(text);
    const written = path.join(directory, file.replace(/\.ts$/, '.js'));
    fs.mkdirSync(path.dirname(written), { recursive: true });
    fs.writeFileSync(written, outputText);
  }
  fs.writeFileSync(path.join(directory, 'package.json'), '{"type":"module"}');
  removeOld(cache);
  try {
    fs.renameSync(directory, target);
  } catch {
    // Another process was faster.
    fs.rmSync(directory, { recursive: true });
  }
  return target;
}

/** TypeScript as plain JavaScript, types and `using` taken out. */
export function transpileSource(text: string): string {
  // Loaded only here: it takes long where a machine is emulated.
  const { transpileModule, ScriptTarget, ModuleKind } = createRequire(import.meta.url)('typescript') as typeof ts;
  const { outputText } = transpileModule(text, {
    compilerOptions: {
      target: ScriptTarget.ES2022,
      module: ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      rewriteRelativeImportExtensions: true,
    },
  });
  return outputText;
}

/** Former states of the sources; a test of one may still be running. */
function removeOld(cache: string): void {
  const day = 24 * 60 * 60 * 1000;
  for (const entry of fs.readdirSync(cache)) {
    const old = path.join(cache, entry);
    const { mtimeMs } = fs.statSync(old, { throwIfNoEntry: false }) ?? { mtimeMs: Date.now() };
    if (Date.now() - mtimeMs > day) fs.rmSync(old, { recursive: true, force: true });
  }
}

/** A script may begin many programs, one after the other: it has as long as a test. */
const SCRIPT_MILLISECONDS = 4 * PATIENCE_MILLISECONDS;

export interface ScriptOptions {
  env?: Record<string, string>;
  /** A script that says `require` instead of `import`. */
  commonjs?: boolean;
  /** What the script is started through: ['unshare', '--user']. */
  through?: readonly string[];
  /** The sources of another checkout. */
  root?: string;
}

export interface ScriptResult {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Options of whoever runs the tests would be in the way, but for those without which there is no node:ffi, or which says that it is new. */
const OPTIONS =
  process.env.NETSTEER_FFI === 'node:ffi' ? '--experimental-ffi --disable-warning=ExperimentalWarning' : '';

/** Runs a script, an ES module by default, in a fresh process. It imports the sources as './netns/index.js'. */
export function runScript(script: string, options: ScriptOptions = {}): ScriptResult {
  const { through = [], commonjs = false, env, root } = options;
  const type = `--input-type=${commonjs ? 'commonjs' : 'module'}`;
  const [command, ...parameters] = [...through, process.execPath, type, '--eval', script];
  const { status, stdout, stderr, error } = spawnSync(command!, parameters, {
    cwd: compiledSources(root),
    env: { ...process.env, NODE_OPTIONS: OPTIONS, ...env },
    encoding: 'utf8',
    // Nothing else can run meanwhile, no test's own limit either.
    timeout: SCRIPT_MILLISECONDS,
    killSignal: 'SIGKILL',
  });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** As `runScript`, and returns what it prints as JSON. Anything but a clean end is an error with all it said. */
export function evaluate(script: string, options: ScriptOptions = {}): unknown {
  const { status, stdout, stderr } = runScript(script, options);
  if (status !== 0) throw new Error(`the script ended with ${status}: ${stderr}${stdout}`);
  return JSON.parse(stdout);
}
