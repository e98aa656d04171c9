import { type DestinationEntry, formatRuleset, formatTable, type ServiceEntry } from 'netsteer';
import { pino } from 'pino';
import { becomes } from '../../test/support/wait.ts';
import { accept, balance, follow, SERVICE } from './deployment.ts';
import { fetchFrom } from './fetch.ts';
import { Lab } from './lab.ts';

const REQUESTS = 10;

/**
 * Builds the deployment, sends requests, prints the kernel's tables, and takes it down. Throws if the balance is wrong or a log is empty.
 */
export async function demo(signal: AbortSignal): Promise<void> {
  let step = 0;
  const say = (text: string) => console.log(`\n[${++step}] ${text}`);
  const lab = new Lab();
  const logs = new Map<string, string[]>();
  try {
    await lab.build(say);
    signal.throwIfAborted();

    say(`IPVS in the balancer: ${SERVICE.address}:${SERVICE.port}, scheduler lc, direct routing`);
    await balance(
      lab.balancer,
      lab.webs.map(web => web.address),
    );

    say('in each web container: log to an NFLOG group of its own, and redirect to the local server');
    const listening = lab.webs.map(async ({ name, container }, i) => {
      const group = i + 1;
      const lines: string[] = [];
      logs.set(name, lines);
      await accept(container, name, group);
      const packetLog = pino({ base: { container: name, group }, timestamp: false });
      return follow(container, group, line => {
        lines.push(line);
        packetLog.info(line);
      });
    });
    signal.throwIfAborted();

    say(
      `the client asks for http://${SERVICE.address} ${REQUESTS} times; each container's packet log comes as it arrives`,
    );
    const answers = await fetchFrom(lab.client, `http://${SERVICE.address}`, REQUESTS, answer =>
      // An answer of a container may have control characters.
      console.log(`    ${answer.replace(/[^ -~]/g, '?')}`),
    );
    signal.throwIfAborted();

    say('the IPVS table and its counters');
    const services = await counted(lab, signal);
    console.log(`${formatTable(services)}\n${formatTable(services, 'stats')}`);

    for (const { name, container } of lab.webs) {
      say(`the rules of ${name}`);
      console.log(formatRuleset(await container.nftables.ruleset()));
    }

    say('the packet log of each container');
    for (const [name, lines] of logs)
      console.log(`${name}: ${lines.length} packets\n${lines.map(line => `    ${line}`).join('\n')}`);
    verify(answers, services, logs);
    await Promise.all([lab.close(), ...listening]);
  } finally {
    await lab.close();
  }
  console.log('\nbalanced and logged; everything is taken down again');
}

type Services = (ServiceEntry & { destinations?: DestinationEntry[] })[];

/** The kernel adds up IPVS's counters only every two seconds. */
async function counted(lab: Lab, signal: AbortSignal): Promise<Services> {
  let services: Services = [];
  await becomes(async () => {
    signal.throwIfAborted();
    services = await lab.balancer.ipvs.services({ destinations: true });
    return services[0]?.stats.connections === BigInt(REQUESTS);
  });
  return services;
}

/** Throws if something is missing. */
export function verify(
  answers: readonly string[],
  services: readonly Pick<ServiceEntry, 'stats'>[],
  logs: ReadonlyMap<string, readonly string[]>,
): void {
  const missing: string[] = [];
  if (answers.length !== REQUESTS) missing.push(`${answers.length} answers instead of ${REQUESTS}`);
  if (answers.some((answer, i) => i > 0 && answer === answers[i - 1])) missing.push('the servers did not take turns');
  if (services[0]?.stats.connections !== BigInt(REQUESTS))
    missing.push(`IPVS counted ${services[0]?.stats.connections ?? 0} connections`);
  for (const [name, lines] of logs) {
    const own = answers.filter(answer => answer === `HELLO,This is ${name}`).length;
    if (own === 0) missing.push(`no answer of ${name}`);
    if (lines.length !== own || lines.some(line => !line.startsWith(`${name} `)))
      missing.push(`${lines.length} packets in the log of ${name} for ${own} answers`);
  }
  if (missing.length > 0) throw new Error(`the deployment does not work: ${missing.join('; ')}`);
}
