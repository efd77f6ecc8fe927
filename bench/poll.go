package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// poller drives plain connections from one thread with epoll: a read, a write and a
// share of a wait for each answer. That takes a fifth to a quarter less from the servers
// that share the cores with it than goroutines over net.Conn, and nine tenths of what is
// left are the two system calls.
type poller struct {
	l     *load
	epoll int
	timer int // -1 without a pace
	to    unix.Sockaddr
	fam   int
	conns []*pollConn // by file descriptor
	idle  []*pollConn
	judge judge

	begin             time.Time
	sent, got, failed int64
	times             []time.Duration
}

type pollConn struct {
	fd    int
	in    inbox
	n     int64     // of the request that is not answered yet
	since time.Time // when that was sent, or due
}

// forgiven is how many answers may fail where one in a hundred may.
const forgiven = 3

// answerPatience is how long a server may leave everything unanswered.
const answerPatience = 30 * time.Second

func (l *load) runPoll(ctx context.Context) (_ *sample, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p := &poller{l: l, timer: -1, judge: judge{l: l}}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", l.addr, err)
	}
	p.begin = time.Now()
	if l.pace == 0 {
		if err := p.sendDue(p.begin); err != nil {
			return nil, err
		}
	}
	if err := p.loop(ctx); err != nil {
		return nil, err
	}
	return &sample{times: p.times, took: time.Since(p.begin)}, nil
}

func (p *poller) open() (err error) {
	at, err := netip.ParseAddrPort(p.l.addr)
	if err != nil {
		return err
	}
	if at.Addr().Is4() {
		p.fam, p.to = unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	} else {
		p.fam, p.to = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	}
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	for range p.l.connections {
		c := &pollConn{}
		if err := p.dial(c); err != nil {
			return err
		}
		p.idle = append(p.idle, c)
	}
	if p.l.pace == 0 {
		return nil
	}
	if p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return err
	}
	every := unix.NsecToTimespec(p.l.pace.Nanoseconds())
	if err := unix.TimerfdSettime(p.timer, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		return err
	}
	return p.watch(p.timer)
}

// dial connects, or connects again. It blocks, which takes no time on one machine.
func (p *poller) dial(c *pollConn) (err error) {
	if c.fd, err = unix.Socket(p.fam, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	for len(p.conns) <= c.fd {
		p.conns = append(p.conns, nil)
	}
	p.conns[c.fd] = c
	if err := unix.Connect(c.fd, p.to); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	return p.watch(c.fd)
}

func (p *poller) watch(fd int) error {
	return unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (p *poller) hangUp(c *pollConn) error {
	p.conns[c.fd] = nil
	return unix.Close(c.fd)
}

func (p *poller) close() error {
	var errs []error
	for _, c := range p.conns {
		if c != nil {
			errs = append(errs, unix.Close(c.fd))
		}
	}
	if p.timer >= 0 {
		errs = append(errs, unix.Close(p.timer))
	}
	return errors.Join(append(errs, unix.Close(p.epoll))...)
}

// due is how many requests should be sent by now.
func (p *poller) due(now time.Time) int64 {
	l := p.l
	over := l.length > 0 && now.Sub(p.begin) >= l.length
	var n int64
	switch {
	case l.pace > 0:
		run := now.Sub(p.begin)
		if over {
			run = l.length
		}
		n = int64(run / l.pace)
	case over:
		n = p.sent
	default:
		n = p.sent + int64(len(p.idle))
	}
	if l.count > 0 {
		n = min(n, l.count)
	}
	return n
}

// sendDue sends what is due over connections that are free.
func (p *poller) sendDue(now time.Time) error {
	for due := p.due(now); p.sent < due && len(p.idle) > 0; p.sent++ {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		c.n, c.since = p.sent, now
		if p.l.pace > 0 {
			c.since = p.begin.Add(time.Duration(p.sent+1) * p.l.pace)
		}
		request := p.l.next(p.sent)
		// A socket whose last request is answered has room for another one.
		if n, err := unix.Write(c.fd, request); err != nil {
			return fmt.Errorf("send: %w", err)
		} else if n < len(request) {
			return fmt.Errorf("send: %w", io.ErrShortWrite)
		}
	}
	return nil
}

func (p *poller) loop(ctx context.Context) error {
	events := make([]unix.EpollEvent, p.l.connections+1)
	last := time.Now()
	for {
		over := p.l.count > 0 && p.sent >= p.l.count || p.l.length > 0 && time.Since(p.begin) >= p.l.length
		if over && p.got == p.sent && p.sent >= p.due(time.Now()) {
			return nil
		}
		n, err := unix.EpollWait(p.epoll, events, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if n <= 0 {
			if time.Since(last) > answerPatience {
				return fmt.Errorf("no answer for %v", answerPatience)
			}
			continue
		}
		for _, e := range events[:n] {
			if int(e.Fd) == p.timer {
				var ticks [8]byte // unread, the timer would be ready for ever; the clock tells what is due
				if _, err := unix.Read(p.timer, ticks[:]); err != nil && !errors.Is(err, unix.EAGAIN) {
					return fmt.Errorf("timer: %w", err)
				}
			} else if err := p.receive(p.conns[e.Fd]); err != nil {
				return err
			} else {
				last = time.Now()
			}
			if err := p.sendDue(time.Now()); err != nil {
				return err
			}
		}
	}
}

// receive reads what has come and ends the request if its answer is there in whole.
func (p *poller) receive(c *pollConn) error {
	n, err := unix.Read(c.fd, c.in.space())
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if n == 0 {
		return fmt.Errorf("receive: %w", io.ErrUnexpectedEOF)
	}
	c.in.have += n
	r, whole, err := c.in.take()
	if err != nil || !whole {
		return err
	}
	took := time.Since(c.since)
	p.got++
	if err := p.judge.accept(c.n, r); err == nil {
		p.times = append(p.times, took)
	} else if p.failed++; !p.l.forgiving || p.failed > forgiven+p.got/100 {
		return err
	}
	if r.closes {
		if err := errors.Join(p.hangUp(c), p.dial(c)); err != nil {
			return err
		}
	}
	p.idle = append(p.idle, c)
	return nil
}
