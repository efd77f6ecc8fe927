// Package runner runs the functions of package lambda: as processes of this machine
// that speak AWS Lambda's Runtime API, by signed requests to webhooks, and as
// functions that are built into the server.
//
// It promises that one invocation ends within the function's time, whatever the
// function does; that a process is started with the environment built here and
// nothing else of the server's (no files, no descriptors, no variables); that whatever
// a process started ends with it; and that a process reaches its own Runtime API only.
//
// It trusts the operator's interpreters and kernel, and the egress rules it is given.
// It does not trust the function, nor the zip file that the function came in, nor what
// a webhook answers. How much a function can still see of the machine depends on how
// the server runs; docs/design/runners.md says what the isolation is, and what it is
// not. What functions print is handed to whoever invoked them and goes nowhere else.
package runner

import (
	"errors"
	"time"
)

const (
	// maxPayload is Lambda's limit for events and answers.
	// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
	maxPayload = 6 << 20
	// version is the only one that functions have.
	version = "$LATEST"
	// sessionLifetime is how long the credentials of a function's role are good for. A
	// process is not used again when they are about to end.
	sessionLifetime = time.Hour
	// maxOutput is how much of what a function prints is kept: the end, where what went
	// wrong is said. AWS shows 4 KiB.
	maxOutput = 64 << 10
)

// errClosed means that the server is stopping.
var errClosed = errors.New("the server is stopping")
