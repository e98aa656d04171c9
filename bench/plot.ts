import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Result } from './harness.ts';
import type { Report } from './report.ts';

/** What a benchmark's results look like as a picture. */
interface Figure {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  /** The cases that are points: the number in their name is the place on the x axis. */
  readonly cases: RegExp;
  value(result: Result, x: number): number | undefined;
}

const FIGURES: Record<string, Figure> = {
  nftables: {
    title: 'Cost of one rule',
    x: 'rules in one transaction',
    y: 'microseconds for each rule',
    cases: /^rules\/(\d+)$/,
    value: ({ seconds }, x) => (seconds.median * 1e6) / x,
  },
  fleet: {
    title: 'First programming of a fleet',
    x: 'containers',
    y: 'containers a second',
    cases: /^containers\/(\d+)$/,
    value: ({ operationsPerSecond }) => operationsPerSecond,
  },
};

interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** Writes the benchmark's picture into a directory, and returns its path; undefined where it has none, or too few points for a line. */
export function writePlot(report: Report, directory: string): string | undefined {
  const picture = pictureOf(report);
  if (picture === undefined) return undefined;
  mkdirSync(directory, { recursive: true });
  const path = join(directory, `${report.name}.svg`);
  writeFileSync(path, picture.svg);
  return path;
}

/** The picture of a benchmark, with its title; undefined where it has none, or too few points for a line. */
export function pictureOf({ name, results }: Report): { title: string; svg: string } | undefined {
  const figure = FIGURES[name];
  const series = figure === undefined ? [] : seriesOf(figure, results);
  if (figure === undefined || series.every(({ points }) => points.length < 2)) return undefined;
  return { title: `${figure.title}: ${figure.y} against ${figure.x}`, svg: svg(figure, series) };
}

function seriesOf({ cases, value }: Figure, results: readonly Result[]): Series[] {
  const series = new Map<string, [number, number][]>();
  for (const result of results) {
    const x = Number(cases.exec(result.case)?.[1]);
    const y = value(result, x);
    if (!(x > 0) || y === undefined || !(y > 0)) continue;
    const points = series.get(result.program) ?? [];
    points.push([x, y]);
    series.set(result.program, points);
  }
  return [...series].map(([name, points]) => ({ name, points: points.sort(([a], [b]) => a - b) }));
}

const SIZE = { width: 800, height: 440 };
const PLOT = { left: 78, right: 520, top: 52, bottom: 376 };
/** Labels of lines that end at the same height stand below each other. */
const LABEL_HEIGHT = 17;
/** Told apart by those who see few colours too; light enough for dark pages and dark enough for light ones. */
const COLOURS = ['#0077bb', '#ee7733', '#009988', '#cc3311', '#aa4499', '#888855', '#33a0d8', '#777777'];

/** Logarithmic on both axes. */
function svg(figure: Figure, series: readonly Series[]): string {
  const points = series.flatMap(each => each.points);
  const places = [...new Set(points.map(([value]) => value))];
  const x = scale(places, PLOT.left, PLOT.right);
  const y = scale(powersAround(points.map(([, value]) => value)), PLOT.bottom, PLOT.top);
  const shapes = [
    `<text class="title" x="${PLOT.left}" y="28">${escaped(figure.title)}</text>`,
    ...x.ticks.flatMap(tick => [
      `<path class="grid" d="M${x.at(tick)} ${PLOT.top}V${PLOT.bottom}"/>`,
      `<text x="${x.at(tick)}" y="${PLOT.bottom + 20}" text-anchor="middle">${short(tick)}</text>`,
    ]),
    ...y.ticks.flatMap(tick => [
      `<path class="grid" d="M${PLOT.left} ${y.at(tick)}H${PLOT.right}"/>`,
      `<text x="${PLOT.left - 8}" y="${y.at(tick) + 4}" text-anchor="end">${short(tick)}</text>`,
    ]),
    `<path class="axis" d="M${PLOT.left} ${PLOT.top}V${PLOT.bottom}H${PLOT.right}"/>`,
    `<text x="${(PLOT.left + PLOT.right) / 2}" y="${PLOT.bottom + 46}" text-anchor="middle">${escaped(figure.x)}</text>`,
    `<text transform="translate(20 ${(PLOT.top + PLOT.bottom) / 2}) rotate(-90)" text-anchor="middle">${escaped(figure.y)}</text>`,
    ...series.map(({ points: own }, i) =>
      line(
        own.map(([px, py]) => [x.at(px), y.at(py)] as const),
        colour(i),
      ),
    ),
    ...labels(series.map(({ name, points: own }, i) => ({ name, colour: colour(i), at: y.at(own.at(-1)![1]) }))),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${SIZE.width} ${SIZE.height}" width="${SIZE.width}" height="${SIZE.height}" font-family="sans-serif" font-size="13">
<title>${escaped(figure.title)}: ${escaped(figure.y)} against ${escaped(figure.x)}</title>
<style>
text { fill: #333 } .title { font-size: 16px; font-weight: bold } .axis { stroke: #555; fill: none } .grid { stroke: #8884; fill: none }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .axis { stroke: #aaa } }
</style>
${shapes.join('\n')}
</svg>
`;
}

const colour = (index: number): string => COLOURS[index % COLOURS.length]!;

interface Scale {
  readonly ticks: readonly number[];
  at(value: number): number;
}

/** Logarithmic, from the smallest of the ticks to the largest. */
function scale(ticks: readonly number[], from: number, to: number): Scale {
  const low = Math.log10(Math.min(...ticks));
  const high = Math.log10(Math.max(...ticks));
  return { ticks, at: value => rounded(from + ((Math.log10(value) - low) / (high - low)) * (to - from)) };
}

/** From the power of ten below the smallest value to the one above the largest. */
function powersAround(values: readonly number[]): number[] {
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
  return Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i));
}

function line(points: readonly (readonly [number, number])[], stroke: string): string {
  const path = points.map(([px, py], i) => `${i === 0 ? 'M' : 'L'}${px} ${py}`).join('');
  const dots = points.map(([px, py]) => `<circle cx="${px}" cy="${py}" r="3.5" fill="${stroke}"/>`).join('');
  return `<path d="${path}" fill="none" stroke="${stroke}" stroke-width="2"/>${dots}`;
}

/** Beside the end of each line, moved apart where they would cover each other, with a stroke from the one to the other. */
function labels(all: readonly { name: string; colour: string; at: number }[]): string[] {
  const sorted = [...all].sort((a, b) => a.at - b.at);
  let free = PLOT.top;
  const places = sorted.map(({ at }) => {
    const place = Math.max(at, free);
    free = place + LABEL_HEIGHT;
    return place;
  });
  // What was pushed out below moves up again.
  let limit = PLOT.bottom + LABEL_HEIGHT;
  for (let i = places.length - 1; i >= 0; i--) {
    places[i] = Math.min(places[i]!, limit);
    limit = places[i]! - LABEL_HEIGHT;
  }
  return sorted.map(({ name, colour: stroke, at }, i) => {
    const place = rounded(places[i]!);
    return `<path d="M${PLOT.right + 2} ${at}L${PLOT.right + 16} ${place}" stroke="${stroke}" fill="none"/><text x="${PLOT.right + 20}" y="${place + 4}">${escaped(name)}</text>`;
  });
}

const rounded = (value: number): number => Math.round(value * 10) / 10;

const short = (value: number): string =>
  value >= 1e6 ? `${value / 1e6}M` : value >= 1e3 ? `${value / 1e3}k` : String(Number(value.toPrecision(1)));

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
