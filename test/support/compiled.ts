import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Every module of src, as paths from there: 'codec/types.ts'. */
export function sourceModules(): string[] {
  return fs
    .readdirSync(path.join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.ts'))
    .sort();
}

let compiled: string | undefined;

/**
 * The sources as plain JavaScript, module by module, for tests that need a process of their own: no Node of the supported ones runs
 * TypeScript everywhere. The directory goes with this process.
 */
export function compiledSources(): string {
  if (compiled !== undefined) return compiled;
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netsteer-'));
  // Readable also for the unprivileged users that some tests turn into.
  fs.chmodSync(directory, 0o755);
  for (const file of sourceModules()) {
    const target = path.join(directory, file.replace(/\.ts$/, '.js'));
    const { outputText } = ts.transpileModule(fs.readFileSync(path.join(ROOT, 'src', file), 'utf8'), {
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.ESNext,
        verbatimModuleSyntax: true,
        rewriteRelativeImportExtensions: true,
      },
    });
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.writeFileSync(target, outputText);
  }
  fs.writeFileSync(path.join(directory, 'package.json'), '{"type":"module"}');
  fs.symlinkSync(path.join(ROOT, 'node_modules'), path.join(directory, 'node_modules'));
  process.once('exit', () => fs.rmSync(directory, { recursive: true, force: true }));
  compiled = directory;
  return directory;
}

export interface ScriptOptions {
  env?: Record<string, string>;
  uid?: number;
  gid?: number;
  /** A script that says `require` instead of `import`. */
  commonjs?: boolean;
  /** What the script is started through: ['unshare', '-Urn']. */
  through?: readonly string[];
}

export interface ScriptResult {
  status: number | null;
  stdout: string;
  stderr: string;
}

function commandOf(script: string, options: ScriptOptions) {
  const { through = [], commonjs = false, env, ...rest } = options;
  const type = `--input-type=${commonjs ? 'commonjs' : 'module'}`;
  const [command, ...parameters] = [...through, process.execPath, type, '--eval', script];
  const cwd = compiledSources();
  return {
    command: command!,
    parameters,
    options: { cwd, env: { ...process.env, NODE_OPTIONS: '', ...env }, ...rest },
  };
}

/** Runs a script, an ES module by default, in a fresh process. It imports the sources as './netns/index.js'. */
export function runScript(script: string, options: ScriptOptions = {}): ScriptResult {
  const { command, parameters, options: spawnOptions } = commandOf(script, options);
  const { status, stdout, stderr, error } = spawnSync(command, parameters, { ...spawnOptions, encoding: 'utf8' });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** As `runScript`, and returns what it prints as JSON. Anything but a clean end is an error with all it said. */
export function evaluate(script: string, options: ScriptOptions = {}): unknown {
  const { status, stdout, stderr } = runScript(script, options);
  if (status !== 0) throw new Error(`the script ended with ${status}: ${stderr}${stdout}`);
  return JSON.parse(stdout);
}
