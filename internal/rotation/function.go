package rotation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/lambda"
	"arca/internal/secrets"
	"arca/internal/store"
)

// service is in whose name rotation functions are invoked.
const service = "secretsmanager.amazonaws.com"

// FunctionCheck answers RotateSecret: the function must exist and let Secrets Manager
// invoke it for the secret, and the caller must be allowed to invoke it, too. Otherwise
// whoever may rotate a secret could have any function of the account run.
func FunctionCheck(l *lambda.Service) secrets.FunctionCheck {
	return func(ctx context.Context, c *call.Call, v *store.Snap, functionARN, secretARN string) error {
		ck, found := l.Resource(v, c, functionARN)
		if !found {
			ck = call.Check{Resource: functionARN, Account: accountOf(functionARN, c.Caller.Account), Snap: v}
		}
		ck.Action = "lambda:InvokeFunction"
		if err := c.Authorize(ctx, &ck); err != nil {
			return err
		}
		_, err := invocable(l, v, functionARN, secretARN, accountOf(secretARN, ""), c.Now)
		return err
	}
}

// invocable finds a function that Secrets Manager may invoke for a secret.
func invocable(l *lambda.Service, v *store.Snap, functionARN, secretARN, secretAccount string, now time.Time) (*lambda.Function, error) {
	f, ok := l.Find(v, functionARN)
	if !ok {
		return nil, fmt.Errorf("%w: there is no function %s", secrets.ErrFunction, functionARN)
	}
	if !l.ServiceMayInvoke(f, service, secretAccount, secretARN, now) {
		return nil, fmt.Errorf("%w: the policy of %s does not let %s invoke it for this secret", secrets.ErrFunction, functionARN, service)
	}
	return f, nil
}

// functionName is the ARN of a function without the qualifier that means the same.
func functionName(functionARN string) string { return strings.TrimSuffix(functionARN, ":$LATEST") }

// accountOf is the account that an ARN names, or else another.
func accountOf(name, otherwise string) string {
	if a, err := arn.Parse(name); err == nil && a.Account != "" {
		return a.Account
	}
	return otherwise
}
