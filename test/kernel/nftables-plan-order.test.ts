import { planOrder } from '../support/nftables-plan-order.ts';

planOrder();
