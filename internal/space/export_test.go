package space

// Disk is a pretended file system.
type Disk struct {
	Free, Total int64
	Device      uint64
	Err         error
}

// Pretend replaces statfs.
func (w *Watcher) Pretend(disk func(dir string) Disk) {
	w.usage = func(dir string) (usage, error) {
		d := disk(dir)
		return usage{free: d.Free, total: d.Total, device: d.Device}, d.Err
	}
}

// BallastRetry is the pause after a failure.
const BallastRetry = ballastRetry
