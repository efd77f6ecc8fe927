//go:build !linux

package store

const mmapFlags = 0

func adviseHuge([]byte) {}
