package store

// observe tells the owner of a table of a change, before any snapshot shows it; nil is
// a record that was not there or is gone. The caller holds the mirror's lock, so the
// changes arrive in the order of their revisions.
func (t *table) observe(rev int64, before, after any) {
	if t.changed != nil {
		t.changed(rev, before, after)
	}
}

// observeReload tells it that all records have been read anew, likewise.
func (t *table) observeReload(rev int64) {
	if t.reloaded != nil {
		t.reloaded(rev)
	}
}

// observer hides T from the mirror.
func observer[T any](changed func(rev int64, before, after *T)) func(rev int64, before, after any) {
	if changed == nil {
		return nil
	}
	return func(rev int64, before, after any) {
		b, _ := before.(*T)
		a, _ := after.(*T)
		changed(rev, b, a)
	}
}
