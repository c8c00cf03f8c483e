/** Submits tasks to a taskdaemon platform, waits for them and operates it. */

export * from "./answers.js";
export type { ActOptions, CallOptions, Named, Tasks } from "./calls.js";
export { Client, resultOrThrow, type ListOptions, type WaitOptions } from "./client.js";
export type { Settings } from "./connection.js";
export {
  ApiError, BadRequest, BadSettings, BadWebhook, Conflict, NotAllowed, NotFound, ServerFault, TaskdaemonError,
  TaskFailed, TasksGone, TryLater, Unreachable, WaitTimeout, type Fault,
} from "./errors.js";
export { verifySignature, verifyWebhook, type RequestHeaders, type VerifyOptions, type Webhook } from "./webhooks.js";
export type { components, paths } from "./api.js";
