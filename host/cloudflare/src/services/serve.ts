// The services beside sync: images, the LLM proxy, the app. The guest decides
// (`wit/services.wit`); here it is carried out. Nothing here knows what they
// are for.

import type { Service } from '../../generated/plain/interfaces/syncline-backend-services.js'
import { asset } from './assets.js'
import { type Exchange, failed } from './exchange.js'
import { deliver, remove, upload } from './images.js'
import { relay } from './relay.js'

/** Carries a decision out. */
export async function serve(exchange: Exchange, service: Service): Promise<Response> {
  const { IMAGES, ASSETS } = exchange.env
  switch (service.tag) {
    case 'upload':
      if (IMAGES) return upload(exchange, IMAGES, service.val)
      break
    case 'deliver':
      if (IMAGES) return deliver(exchange, IMAGES, service.val)
      break
    case 'remove':
      if (IMAGES) return remove(exchange, IMAGES, service.val)
      break
    case 'relay':
      return relay(exchange, service.val)
    case 'asset':
      if (ASSETS) return asset(exchange, ASSETS, service.val)
      break
  }
  return failed('a service', 'it asks for what is not bound', [])
}
