//go:build !linux

package runner

import (
	"context"
	"errors"

	"arca/internal/lambda"
)

// Process runs functions as processes of this machine, on Linux only.
type Process struct{}

var errLinux = errors.New("functions run as processes on Linux only")

// NewProcess fails.
func NewProcess(ProcessConfig) (*Process, error) { return nil, errLinux }

// Invoke fails.
func (p *Process) Invoke(context.Context, *lambda.Invocation) (*lambda.Result, error) {
	return nil, errLinux
}

// Isolation returns nothing.
func (p *Process) Isolation() string { return "" }

// Close does nothing.
func (p *Process) Close() error { return nil }

// Helper fails.
func Helper([]string) error { return errLinux }
