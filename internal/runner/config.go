package runner

import (
	"log/slog"
	"time"
)

// ProcessConfig is what a Process needs. Fields that are zero have defaults, except
// those that are required.
type ProcessConfig struct {
	// Dir is a folder for code and temporary files. Required. It is emptied at the start
	// if an earlier runner has used it, and refused if it holds anything else.
	Dir string
	// Command is how this program is started as a helper: its name and the arguments
	// before those of Helper. Required. The program is the running one itself.
	Command []string
	// Users are the user ids of processes, each of which gets one of its own. nil: they
	// have the server's, and are not kept apart by the kernel.
	Users    *UserRange
	Runtimes Runtimes
	// Endpoint says how functions reach the server. Required. It is asked whenever a
	// process is started.
	Endpoint func() Endpoint
	// Limits are for each process with all it starts; MemoryBytes is the function's own.
	Limits Limits
	// MaxInstances bounds the processes of all functions, MaxPerFunction those of one. The
	// functions of one account have no more than they leave to others: half of them all.
	MaxInstances, MaxPerFunction int
	// IdleTime is how long a process waits for the next event.
	IdleTime time.Duration
	// StartTime is how long a process may take to ask for its first event.
	StartTime time.Duration
	// BusyTime is how long an invocation waits for a process when there are as many as
	// there may be.
	BusyTime time.Duration
	Logger   *slog.Logger // Required.
}

// UserRange are user ids that nobody else on the machine has, First and Last included.
// The group ids of the same numbers are used, too.
type UserRange struct{ First, Last int }

// Limits are what the processes of one instance may use together.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
type Limits struct {
	MemoryBytes int64
	// Tasks are processes and their threads. Default: 1024.
	Tasks int
	// Files are open files of each process. Default: 1024.
	Files uint64
	// DiskBytes bounds the temporary folder, and each file in it. Default: 512 MiB.
	DiskBytes int64
}

func (c *ProcessConfig) setDefaults() {
	orElse(&c.Limits.Tasks, 1024)
	orElse(&c.Limits.Files, 1024)
	orElse(&c.Limits.DiskBytes, 512<<20)
	orElse(&c.MaxInstances, 32)
	orElse(&c.MaxPerFunction, 8)
	orElse(&c.IdleTime, 5*time.Minute)
	orElse(&c.StartTime, 10*time.Second)
	orElse(&c.BusyTime, 5*time.Second)
}

func orElse[T comparable](field *T, usual T) {
	var zero T
	if *field == zero {
		*field = usual
	}
}
