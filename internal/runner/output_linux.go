package runner

import (
	"fmt"
	"os"
	"sync"
	"syscall"
)

// output collects what a process prints. It always reads on, so that a function that
// prints much is slowed down by nothing but its own time.
type output struct {
	raw syscall.RawConn
	f   *os.File

	mu    sync.Mutex
	buf   []byte // the newest maxOutput bytes, or up to twice as much (guarded by mu)
	total int64  // since the last take (guarded by mu)
}

func newOutput(f *os.File) (*output, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &output{f: f, raw: raw}, nil
}

// run reads until nobody can write any more or the file is closed.
func (o *output) run() {
	chunk := make([]byte, 16<<10)
	for {
		end := false
		// Reading and adding are one step under the lock, so that who holds it and finds
		// the pipe empty has everything.
		err := o.raw.Read(func(fd uintptr) (done bool) {
			o.mu.Lock()
			defer o.mu.Unlock()
			n, again := o.readLocked(fd, chunk)
			end = n <= 0 && !again
			return n > 0 || !again
		})
		if err != nil || end {
			return
		}
	}
}

// readLocked reads once; again says that there is nothing to read now.
func (o *output) readLocked(fd uintptr, chunk []byte) (n int, again bool) {
	n, err := syscall.Read(int(fd), chunk)
	switch {
	case err == syscall.EAGAIN:
		return 0, true
	case err == syscall.EINTR:
		return 0, true
	case err != nil || n <= 0:
		return 0, false
	}
	o.total += int64(n)
	o.buf = append(o.buf, chunk[:n]...)
	if len(o.buf) > 2*maxOutput {
		o.buf = append(o.buf[:0], o.buf[len(o.buf)-maxOutput:]...)
	}
	return n, false
}

// take returns what was printed since the last take, including all that is in the pipe
// now, but at most the last maxOutput bytes of it.
func (o *output) take() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	chunk := make([]byte, 16<<10)
	// A function that prints without end must not keep us here.
	for limit := 0; limit < 2*maxOutput; {
		n := 0
		if err := o.raw.Control(func(fd uintptr) { n, _ = o.readLocked(fd, chunk) }); err != nil || n <= 0 {
			break
		}
		limit += n
	}
	kept := o.buf[max(0, len(o.buf)-maxOutput):]
	var out []byte
	if missing := o.total - int64(len(kept)); missing > 0 {
		out = fmt.Appendf(nil, "[%d bytes of output before this were not kept]\n", missing)
	}
	out = append(out, kept...)
	clear(o.buf)
	o.buf, o.total = o.buf[:0], 0
	return out
}
