package audit

import dto "github.com/prometheus/client_model/go"

// Damage is how often, since the log was opened, its files were found removed,
// replaced, cut, or holding other lines than were written. What was found stands in
// the server's own log; alarms watch this number.
func (l *Log) Damage() uint64 {
	var m dto.Metric
	if err := l.metrics.damage.Write(&m); err != nil {
		return 0 // not possible for a counter
	}
	return uint64(m.GetCounter().GetValue())
}
