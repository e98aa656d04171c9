/** OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/). */
export const OPEN_METRICS_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

type Labels = Readonly<Record<string, string>>;

interface Family {
  readonly name: string;
  readonly type: 'gauge' | 'counter' | 'histogram';
  readonly help: string;
  readonly samples: string[];
}

/** Collects families of metrics, and prints them. */
export class MetricsText {
  readonly #families = new Map<string, Family>();

  gauge(name: string, help: string, labels: Labels, value: number | bigint): void {
    this.#family(name, 'gauge', help).samples.push(`${name}${labelText(labels)} ${value}`);
  }

  counter(name: string, help: string, labels: Labels, value: number | bigint): void {
    this.#family(name, 'counter', help).samples.push(`${name}_total${labelText(labels)} ${value}`);
  }

  histogram(name: string, help: string, labels: Labels, histogram: Histogram): void {
    const { samples } = this.#family(name, 'histogram', help);
    let sum = 0;
    for (const [i, bound] of Histogram.BOUNDS.entries()) {
      sum += histogram.counts[i]!;
      samples.push(`${name}_bucket${labelText({ ...labels, le: String(bound) })} ${sum}`);
    }
    samples.push(`${name}_bucket${labelText({ ...labels, le: '+Inf' })} ${histogram.count}`);
    samples.push(
      `${name}_count${labelText(labels)} ${histogram.count}`,
      `${name}_sum${labelText(labels)} ${histogram.sum}`,
    );
  }

  #family(name: string, type: Family['type'], help: string): Family {
    const family = this.#families.get(name) ?? { name, type, help, samples: [] };
    this.#families.set(name, family);
    return family;
  }

  toString(): string {
    let text = '';
    for (const { name, type, help, samples } of this.#families.values()) {
      text += `# TYPE ${name} ${type}\n`;
      const unit = /_(seconds|bytes)$/.exec(name)?.[1];
      if (unit !== undefined) text += `# UNIT ${name} ${unit}\n`;
      text += `# HELP ${name} ${escaped(help)}\n${samples.join('\n')}\n`;
    }
    return `${text}# EOF\n`;
  }
}

/** The durations of checks. */
export class Histogram {
  static readonly BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
  readonly counts = new Array<number>(Histogram.BOUNDS.length).fill(0);
  count = 0;
  sum = 0;

  add(seconds: number): void {
    const i = Histogram.BOUNDS.findIndex(bound => seconds <= bound);
    if (i >= 0) this.counts[i]!++;
    this.count++;
    this.sum += seconds;
  }
}

function labelText(labels: Labels): string {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return parts.length === 0 ? '' : `{${parts.join(',')}}`;
}

const escaped = (text: string): string => text.replace(/[\\"\n]/g, char => (char === '\n' ? '\\n' : `\\${char}`));
