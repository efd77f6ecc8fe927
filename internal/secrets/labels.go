package secrets

import "slices"

// The staging labels that mean something to the service.
const (
	stageCurrent  = "AWSCURRENT"
	stagePrevious = "AWSPREVIOUS"
	stagePending  = "AWSPENDING"
)

// The functions of this file change the labels of versions that belong to the
// caller (a clone). They never write to the memory of a label list, which the clone
// shares with the record it was made of, but put a new list in its place.

// holder finds the version that carries a label; nil when none does.
func holder(versions []Version, stage string) *Version {
	for i := range versions {
		if slices.Contains(versions[i].Stages, stage) {
			return &versions[i]
		}
	}
	return nil
}

// countLabels is what the quota on labels counts: those of all versions together.
func countLabels(versions []Version) (n int) {
	for i := range versions {
		n += len(versions[i].Stages)
	}
	return n
}

// detach takes a label off whichever version carries it.
func detach(versions []Version, stage string) {
	v := holder(versions, stage)
	if v == nil {
		return
	}
	var rest []string
	for _, s := range v.Stages {
		if s != stage {
			rest = append(rest, s)
		}
	}
	v.Stages = rest
}

// attach moves a label to v, which must be an element of versions.
func attach(versions []Version, v *Version, stage string) {
	if slices.Contains(v.Stages, stage) {
		return
	}
	detach(versions, stage)
	v.Stages = append(slices.Clip(v.Stages), stage)
}

// promote moves AWSCURRENT to v. The version that had it becomes AWSPREVIOUS, and
// the one that was AWSPREVIOUS, possibly v itself, no longer is.
func promote(versions []Version, v *Version) {
	current := holder(versions, stageCurrent)
	if current == v {
		return
	}
	detach(versions, stagePrevious)
	attach(versions, v, stageCurrent)
	if current != nil {
		attach(versions, current, stagePrevious)
	}
}

// labelNew gives a version that has just received its value the labels named in the
// request; none named means AWSCURRENT. A first value becomes AWSCURRENT whatever
// was named.
//
// A new current value made by hand ends a rotation that is under way: AWSPENDING
// goes from every other version, unless the request itself names it. AWS documents
// this with the RotationAbandoned event.
func labelNew(versions []Version, v *Version, stages []string) {
	current := holder(versions, stageCurrent)
	if len(stages) == 0 || current == nil || slices.Contains(stages, stageCurrent) {
		promote(versions, v)
		if p := holder(versions, stagePending); p != nil && p != v {
			detach(versions, stagePending)
		}
	}
	for _, stage := range stages {
		attach(versions, v, stage)
	}
}
