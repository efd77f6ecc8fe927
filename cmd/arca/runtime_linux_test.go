package main

import (
	"syscall"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

func TestMemoryOfThisMachine(t *testing.T) {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	if got, want := memoryLimit(memlimit.FromSystem), uint64(info.Totalram)*uint64(info.Unit); got != want {
		t.Errorf("memoryLimit() = %d, want %d", got, want)
	}
}
