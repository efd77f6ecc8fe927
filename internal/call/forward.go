package call

import "arca/internal/api"

// Forward opens a call that a service makes in the name of the caller, as Secrets
// Manager uses a KMS key: what it may do is what the caller may, and its record shows
// the service as where it came from (CloudTrail's invokedBy). service is the principal
// of the service, "secretsmanager.amazonaws.com".
//
// Done gives it a record, before the outer call ends; without Done it gets none. Within
// an Update closure only the calls of the last run count.
func (c *Call) Forward(service string, op *api.Operation, in any) *Call {
	fwd := c.inner(op, in)
	fwd.service = service
	return fwd
}

// Denied is why the call was denied; nil when it was not.
func (c *Call) Denied() *Denial { return c.denial }
