import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { compiledSources, transpileSource } from './compiled.ts';
import { ROOT } from './native.ts';

/** A block of code on a page that people read. */
export interface Snippet {
  /** 'docs/guide/redirect.md' */
  readonly page: string;
  readonly line: number;
  readonly code: string;
  /**
   * The test that runs it, by the comment in front of it: `<!-- run by test/kernel/guide.test.ts -->`. A page of many lists of statements has one
   * comment for all of these.
   */
  readonly runBy: string | undefined;
  /** The block of text behind it: what it prints. `...` stands for anything. */
  readonly prints: string | undefined;
}

/** Figures and findings of former times are kept as they were. */
const NOT_READ = ['docs/history/'];

export function pages(): string[] {
  const documents = fs.readdirSync(path.join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' });
  const all = ['README.md', 'CONTRIBUTING.md', 'test/README.md', ...documents.map(name => `docs/${name}`).sort()];
  return all.filter(
    name =>
      name.endsWith('.md') && !NOT_READ.some(each => name.startsWith(each)) && fs.existsSync(path.join(ROOT, name)),
  );
}

const BLOCK = /(?:<!-- run by (\S+) -->\n)?```(?:js|ts)\n(.*?)```\n(?:\n```text\n(.*?)```)?/gs;

/** Every block of JavaScript or TypeScript on the pages. */
export function snippets(): Snippet[] {
  return pages().flatMap(page => {
    const text = fs.readFileSync(path.join(ROOT, page), 'utf8');
    const ofStatements = /<!-- lists of statements: run by (\S+) -->/.exec(text)?.[1];
    return [...text.matchAll(BLOCK)].map(({ index, 1: runBy, 2: code, 3: prints }) => {
      const line = text.slice(0, index).split('\n').length;
      return { page, line, code: code!, runBy: runBy ?? (code!.startsWith('[') ? ofStatements : undefined), prints };
    });
  });
}

/** The snippets whose comment names this test, each to be taken by one of its cases; a last case expects that none is left. */
export class SnippetsOf {
  readonly all: readonly Snippet[];
  readonly #left: Set<Snippet>;

  /** @param test 'test/kernel/nflog-docs.test.ts' */
  constructor(test: string) {
    this.all = snippets().filter(({ runBy }) => runBy === test);
    this.#left = new Set(this.all);
  }

  /** The one snippet with this text in its code. */
  take(mark: string): Snippet {
    const whole = this.all.filter(({ code }) => code.trimEnd() === mark);
    const found = whole.length > 0 ? whole : this.all.filter(({ code }) => code.includes(mark));
    if (found.length !== 1) throw new Error(`${found.length} snippets have ${mark}`);
    this.#left.delete(found[0]!);
    return found[0]!;
  }

  get left(): string[] {
    return [...this.#left].map(({ page, line }) => `${page}:${line}`);
  }
}

/**
 * Runs a snippet as a program of its own, as a reader who has copied it does, and returns what it prints.
 * @param options `through`: what it is started by: ['unshare', '--net']
 */
export async function runSnippet(
  { page, line, code }: Snippet,
  { through = [] }: { through?: readonly string[] } = {},
): Promise<string> {
  const sources = `${compiledSources()}/`;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netsteer-snippet-'));
  try {
    const script = transpileSource(code)
      .replaceAll(/'netsteer'/g, `'${sources}index.js'`)
      .replaceAll(/'netsteer\/(\w+)'/g, `'${sources}$1/index.js'`)
      .replaceAll("'pino'", `'${ROOT}/node_modules/pino/pino.js'`);
    const file = path.join(folder, 'example.mjs');
    fs.writeFileSync(file, script);
    fs.chmodSync(folder, 0o755);
    const [command, ...parameters] = [...through, process.execPath, file];
    // Within a test, node:test would speak another language than the one for readers.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const child = spawn(command!, parameters, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    const status = await new Promise(resolve => child.once('close', resolve));
    if (status !== 0) throw new Error(`${page}:${line} ended with ${status}: ${errors}${output}`);
    return output;
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** What a page says that a snippet prints, as a pattern. */
export function patternOf(prints: string): RegExp {
  const escaped = prints.trim().replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('\\.\\.\\.', '[^]*?')}$`);
}

/** Makes a function of a snippet, with `await` in it. */
export const AsyncFunction = (async () => {}).constructor as new (
  ...parameters: string[]
) => (...values: unknown[]) => Promise<void>;
