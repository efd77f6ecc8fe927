package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// comeback is how long after the start of its process a server did what again.
type comeback struct {
	// stop is how long the process before took to end.
	stop time.Duration
	// read is the first value read by name, ready is /readyz, list is the first page of
	// all names, listens is what the server says itself.
	read, ready, list, listens time.Duration
	// cpu is the processor time that all that took.
	cpu time.Duration
}

// restartPatience is how long a server may take to come back.
const restartPatience = 10 * time.Minute

// pollEvery is how often a server that starts is asked: what is measured is that much
// too long at most.
const pollEvery = 20 * time.Millisecond

// comeBack starts the server of a home and measures when it does what.
func (h scaleHome) comeBack(ctx context.Context, o options) (s *scaleServer, c comeback, err error) {
	at, err := h.configure()
	if err != nil {
		return nil, c, err
	}
	asking, cancel := context.WithTimeout(ctx, restartPatience)
	defer cancel()
	begin := time.Now()
	var wg sync.WaitGroup
	var last [3]error
	for i, w := range []struct {
		took *time.Duration
		try  func() error
	}{
		{&c.read, func() error { return h.readOne(at) }},
		{&c.ready, func() error { _, err := fetchOps(at.ops, "/readyz"); return err }},
		{&c.list, func() error { return h.listFirst(at) }},
	} {
		wg.Go(func() {
			for asking.Err() == nil {
				if last[i] = w.try(); last[i] == nil {
					*w.took = time.Since(begin)
					return
				}
				time.Sleep(pollEvery)
			}
		})
	}
	s, err = h.startAt(ctx, o, at)
	c.listens = time.Since(begin)
	if err != nil {
		cancel()
	}
	wg.Wait()
	if err = errors.Join(err, errors.Join(last[:]...)); err != nil {
		return s, c, err
	}
	c.cpu, err = s.proc.cpu()
	return s, c, err
}

// readOne reads a random secret and checks its value.
func (h scaleHome) readOne(at addresses) error {
	i := rand.IntN(h.size)
	var out struct{ Name, SecretString string }
	if err := scaleCaller(at.api).call(secretsManager, "GetSecretValue", map[string]any{"SecretId": scaleName(i)}, &out); err != nil {
		return err
	}
	return checkScaleValue(i, out.Name, out.SecretString)
}

func checkScaleValue(i int, name, value string) error {
	if name != scaleName(i) || value != scaleValue(i, 2) {
		return fmt.Errorf("another secret than %s was read", scaleName(i))
	}
	return nil
}

// listFirst lists the last names, which are known.
func (h scaleHome) listFirst(at addresses) error {
	var out listAnswer
	in := listed("name", "asc", "name", scaleName(h.size-1))
	if err := scaleCaller(at.api).call(secretsManager, "ListSecrets", in, &out); err != nil {
		return err
	}
	if len(out.SecretList) != 1 || out.SecretList[0].Name != scaleName(h.size-1) {
		return errors.New("a list without the last secret")
	}
	return nil
}

// stop ends the server and returns how long that took.
func (s *scaleServer) stop() time.Duration {
	begin := time.Now()
	s.proc.stop()
	return time.Since(begin)
}

// kill ends the server in the midst of writes, which leave the data as it was.
func (s *scaleServer) kill(ctx context.Context, o options) error {
	var writes [][]byte
	for range 2000 {
		i := rand.IntN(s.home.size)
		in := map[string]any{"SecretId": scaleName(i), "Description": scaleDescription(i)}
		r, err := s.caller().request(secretsManager, "UpdateSecret", in)
		if err != nil {
			return err
		}
		writes = append(writes, r)
	}
	l := &load{addr: s.at.api, connections: o.connections, length: 2 * time.Second, anyLength: true}
	l.next = func(n int64) []byte { return writes[n%int64(len(writes))] }
	killed := time.AfterFunc(time.Second, func() { _ = s.proc.cmd.Process.Signal(syscall.SIGKILL) })
	defer killed.Stop()
	if _, err := l.run(ctx); err == nil {
		return errors.New("the server outlived SIGKILL")
	}
	_ = s.proc.cmd.Process.Signal(syscall.SIGKILL)
	_ = s.proc.cmd.Wait() // says that it was killed
	return nil
}

// fsck runs the check of the data, which must find nothing.
func (h scaleHome) fsck(ctx context.Context, o options) (time.Duration, error) {
	begin := time.Now()
	out, err := exec.CommandContext(ctx, "env", h.command(o, "fsck")...).CombinedOutput()
	took := time.Since(begin)
	if err == nil && !strings.Contains(string(out), "no problems") {
		err = errors.New("no verdict")
	}
	if err != nil {
		return 0, fmt.Errorf("fsck of %s: %w: %s", h.dir, err, out[:min(len(out), 2000)])
	}
	return took, nil
}
