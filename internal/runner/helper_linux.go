package runner

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A function's process is not a child of the server. The server starts a supervisor,
// this program again, under the function's user id; the supervisor starts the confiner,
// which gives up what a function must not have and then becomes the function. The
// supervisor adopts everything the function starts and loses, counts its memory, and
// kills all of it when the function ends, when the server says so, and when the server
// is gone.

// The roles in which this program is started by itself. They are the first argument
// after Process.Command.
const (
	roleSupervise = "supervise"
	roleConfine   = "confine"
	roleSweep     = "sweep"
	roleProbe     = "probe"
)

// Numbers of file descriptors besides the standard ones.
const (
	// reportFD is where a supervisor writes its reports, and a confiner what went wrong.
	reportFD = 3
	// maxSpecBytes bounds what is read from the server, which has bounded it before.
	maxSpecBytes = 1 << 20
)

// task is what a supervisor is told to run. It goes through a pipe, since arguments
// can be seen by everybody on the machine.
type task struct {
	Path string
	Args []string
	Env  []string
	Dir  string
	// Tmp is the one folder that may be written to. Read are those that may be read
	// besides the system's.
	Tmp  string
	Read []string
	Limits
	// OwnUser says that no other process has this user id: then the kernel counts.
	OwnUser bool
}

// commands that a supervisor reads, one byte each. The end of its input is the order to
// kill everything and end.
const (
	commandBusy = 'b' // an invocation has begun
	commandIdle = 'i' // it has ended: report the memory used so far
)

// status is a report of a supervisor: one line of JSON.
type status struct {
	// PID is that of the function, in the first report.
	PID int `json:",omitempty"`
	// Failed says why there is no function.
	Failed string `json:",omitempty"`
	// PeakKB is the most memory that was seen.
	PeakKB int64 `json:",omitempty"`
	// Ended says that this is the last report, How what ended the function: "" for an exit
	// with status 0.
	Ended bool   `json:",omitempty"`
	How   string `json:",omitempty"`
	// Limit names the limit that was passed, if one was.
	Limit string `json:",omitempty"`
}

// Helper is what this program does when it is started by itself, in one of the roles
// above; args are the arguments after those of Process.Command. It returns when the
// role is done; as a confiner it does not return, unless it fails.
func Helper(args []string) error {
	// Credentials and confinement belong to one thread. This one does everything, and is
	// the one that the death of a supervisor is told to.
	runtime.LockOSThread()
	if len(args) == 0 {
		return errors.New("this command is started by the server itself")
	}
	switch args[0] {
	case roleSupervise:
		return supervise()
	case roleConfine:
		return confine()
	case roleSweep:
		return sweepHelper(args[1:])
	case roleProbe:
		return probe(args[1:])
	}
	return fmt.Errorf("there is no role %q", args[0])
}

// readTask reads what to run: one line.
func readTask(r *bufio.Reader) (*task, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxSpecBytes {
			return nil, errors.New("task is too long")
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
	var t task
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		return nil, err
	}
	return &t, nil
}

func writeTask(w io.Writer, t *task) error {
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// probe is run once under a function's user id to find out early whether such a process
// can reach what it needs.
func probe(paths []string) error {
	if err := dropCapabilities(); err != nil {
		return err
	}
	for _, p := range paths {
		mode := uint32(unix.R_OK | unix.X_OK)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			mode = unix.R_OK
		}
		if err := unix.Access(p, mode); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}
