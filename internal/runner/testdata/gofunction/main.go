// Command gofunction is a function in Go for the tests of package runner.
package main

import (
	"context"
	"errors"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct{ Step string }

func handle(ctx context.Context, e event) (map[string]string, error) {
	switch e.Step {
	case "fail":
		return nil, errors.New("as it was told")
	case "panic":
		panic("told to")
	}
	lc, _ := lambdacontext.FromContext(ctx)
	return map[string]string{"step": e.Step, "arn": lc.InvokedFunctionArn}, nil
}

func main() { lambda.Start(handle) }
