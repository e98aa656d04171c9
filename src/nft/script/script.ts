import { dialectOf } from '../data/dialects.ts';
import { Lines } from '../parse/lines.ts';
import { Parser } from '../parse/parser.ts';
import { Places } from '../parse/places.ts';
import { grammarOf } from '../parse/rule.ts';
import { NftSyntaxError, type Problem, Source, type Span } from '../parse/source.ts';
import { T } from '../parse/tokens.ts';
import { command } from './commands.ts';
import { Abandoned, type Entry, type Include, Reader } from './reader.ts';
import { Scopes } from './scopes.ts';

/** What a text may refer to outside of itself. */
export interface ScriptOptions {
  /** The name of the text, for errors; default '/dev/stdin', as nft calls what it reads from there. */
  source?: string | undefined;
  /** Returns the files that `include` names, by the pattern in the text. Without it every `include` is an error. */
  include?: Include | undefined;
  /** Values of variables, as text: each is defined before the text begins. */
  variables?: Readonly<Record<string, string>> | undefined;
  /** The version of nft whose language it is; default '1.1.6'. */
  version?: '1.1.6' | '1.0.6' | undefined;
}

/** A text of nft's language as commands of nft's JSON, and its errors. */
export class Script {
  /** The commands that were understood. nft goes on to judge these, even if others are errors. */
  readonly entries: readonly Entry[];
  readonly problems: readonly Problem[];
  readonly #read: (by?: { places?: Places; lines?: Lines }) => {
    entries: readonly Entry[];
    problems: readonly Problem[];
  };
  #placed: { entries: readonly Entry[]; places: Places } | undefined;

  /** @param skipsLines rules of lines like others are not parsed: their JSON is made when it is asked for */
  constructor(
    text: string,
    { source = '/dev/stdin', include, variables = {}, version }: ScriptOptions = {},
    skipsLines = false,
  ) {
    const dialect = dialectOf(version);
    // Places are only known by reading the text again: what was included must be the same then.
    const included: ReturnType<Include>[] = [];
    this.#read = ({ places, lines } = {}) => {
      let next = 0;
      const remembered: Include = pattern => {
        included[next] ??= include?.(pattern) ?? [];
        return included[next++]!;
      };
      const scopes = new Scopes();
      const grammar = grammarOf(dialect);
      const problems: Problem[] = [];
      const read = (of: Source, isVariable: boolean): Reader => {
        const parser = new Parser(of, { dialect, grammar, variables: scopes, ...(places !== undefined && { places }) });
        const reader = new Reader(parser, scopes, remembered, lines);
        try {
          readAll(reader, isVariable);
        } catch (error) {
          if (!(error instanceof Abandoned) && !(error instanceof NftSyntaxError)) throw error;
        }
        problems.push(...parser.problems);
        return reader;
      };
      for (const name in variables) read(new Source(undefined, `define ${name}=${variables[name]}; `), true);
      const { entries } = read(new Source(source, text), false);
      return { entries, problems };
    };
    let read = this.#read(skipsLines ? { lines: new Lines(dialect) } : {});
    if (skipsLines && read.problems.length > 0) read = this.#read();
    this.entries = read.entries;
    this.problems = read.problems;
  }

  /** All commands as JSON, with their places. */
  get #withPlaces(): { entries: readonly Entry[]; places: Places } {
    if (this.#placed === undefined) {
      const places = new Places();
      this.#placed = { entries: this.#read({ places }).entries, places };
    }
    return this.#placed;
  }

  /** The commands as plain JSON. */
  get json(): readonly Entry[] {
    return this.#withPlaces.entries;
  }

  /** Returns the place in the text of a part of the commands: the path begins with the index of a command. */
  place(path: readonly (string | number)[]): Span | undefined {
    const { entries, places } = this.#withPlaces;
    return places.find(entries, [...path]);
  }
}

function readAll(reader: Reader, isVariable: boolean): void {
  const { parser } = reader;
  for (;;) {
    parser.separators();
    if (parser.is(T.EOF)) return;
    reader.line(() => {
      // The text of a variable cannot bring commands.
      if (reader.definition()) return;
      if (isVariable) parser.unexpected();
      command(reader);
    });
  }
}
