/**
 * Splits a command line into words as a shell does: single quotes keep everything, double quotes too but for `\` before `"`, `\`, `$` and
 * a backquote, and a backslash elsewhere takes the next character as it is. Parts in quotes and without them are one word if nothing is
 * between them. Nothing is expanded.
 */
export function splitCommandLine(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let at = 0; at < line.length; at++) {
    const letter = line[at]!;
    if (letter === ' ' || letter === '\t' || letter === '\n') {
      if (word !== undefined) words.push(word);
      word = undefined;
      continue;
    }
    word ??= '';
    if (letter === '\\') {
      at++;
      if (line[at] !== '\n') word += line[at] ?? '\\';
    } else if (letter === "'") {
      const end = closing(line, at + 1, "'");
      word += line.slice(at + 1, end);
      at = end;
    } else if (letter === '"') {
      const end = closing(line, at + 1, '"');
      word += line
        .slice(at + 1, end)
        .replace(/\\(["\\$`]|\n)/g, (_, escaped: string) => (escaped === '\n' ? '' : escaped));
      at = end;
    } else word += letter;
  }
  if (word !== undefined) words.push(word);
  return words;
}

/** Where a quotation ends; at the end of the line if nothing ends it. */
function closing(line: string, start: number, quote: string): number {
  for (let at = start; at < line.length; at++) {
    if (quote === '"' && line[at] === '\\') at++;
    else if (line[at] === quote) return at;
  }
  return line.length;
}
