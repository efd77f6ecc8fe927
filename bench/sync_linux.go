package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes a file's contents and length durable.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
