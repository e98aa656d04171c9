import { type BalancedService, BalancerError, type LoadBalancer } from '../balancer/internal.ts';
import { isArgumentError } from '../errors.ts';

/**
 * Applies services so that one that is refused does not keep the others from being programmed: it stays as it was applied before, or is left out.
 * @param good the services as they were applied last, by name; they are kept there
 * @param refused called with each service that was refused
 * @throws BalancerError some changes failed; the others were made
 */
export async function applyEach(
  lb: LoadBalancer,
  services: readonly BalancedService[],
  good: Map<string, BalancedService>,
  refused: (name: string, error: Error) => void,
): Promise<void> {
  let wanted = [...services];
  for (;;) {
    try {
      await lb.apply(wanted);
      break;
    } catch (error) {
      if (error instanceof BalancerError) throw error;
      const culprit = await culpritOf(lb, wanted, error);
      if (culprit === undefined) throw error;
      refused(culprit.name, error as Error);
      const before = good.get(culprit.name);
      wanted = wanted.flatMap(each =>
        each !== culprit ? [each] : before === undefined || before === each ? [] : [before],
      );
    }
  }
  good.clear();
  for (const service of wanted) good.set(service.name, service);
}

/** @returns undefined: the error is about none of them */
async function culpritOf(
  lb: LoadBalancer,
  services: readonly BalancedService[],
  error: unknown,
): Promise<BalancedService | undefined> {
  const index = isArgumentError(error) ? error.path[0] : undefined;
  if (typeof index === 'number') return services[index];
  if (await isRefused(lb, [])) return undefined;
  for (const service of services) if (await isRefused(lb, [service])) return service;
  return undefined;
}

async function isRefused(lb: LoadBalancer, services: readonly BalancedService[]): Promise<boolean> {
  try {
    await lb.plan(services);
    return false;
  } catch {
    return true;
  }
}
