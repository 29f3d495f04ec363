package quantize

import (
	"sync"
	"time"
)

// meter turns work into progress. A step's speed is that of its phase: a
// multiply-add of a fit takes longer than one of a layer's products.
type meter struct {
	mu      sync.Mutex
	report  func(Progress)
	layers  int
	layer   int
	workers int

	done  float64         // work
	todo  [phases]float64 // work that is left, by phase
	made  [phases]float64 // work that was measured
	spent [phases]time.Duration
	begun map[*unit]*course
}

// course is a unit being made.
type course struct {
	start time.Time
	share float64 // done
}

// left sets what is still to be done: other processes may have made some of it.
func (m *meter) left(todo steps) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.todo = [phases]float64{}
	for _, step := range todo {
		for _, u := range step {
			m.todo[u.phase] += u.work
		}
	}
}

func (m *meter) begin(u *unit) {
	m.mu.Lock()
	m.begun[u] = &course{start: time.Now()}
	m.mu.Unlock()
	m.add(u, u.name, 0)
}

// end takes a unit as done, whatever it has ticked.
func (m *meter) end(u *unit) {
	m.mu.Lock()
	c := m.begun[u]
	m.mu.Unlock()
	m.add(u, u.name, 1-c.share)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.made[u.phase] += u.work
	m.spent[u.phase] += time.Since(c.start)
	delete(m.begun, u)
}

// phases lists what was made.
func (m *meter) phases() (ps []ReportPhase) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, name := range phaseNames {
		if m.made[i] > 0 {
			ps = append(ps, ReportPhase{name, m.spent[i].Seconds(), m.made[i]})
		}
	}
	return ps
}

// note tells of a step whose work is not counted.
func (m *meter) note(step string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tell(step)
}

// add says that a share of a unit was done. The callback is not called by two
// workers at a time.
func (m *meter) add(u *unit, what string, share float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.begun[u]; c != nil {
		share = min(share, 1-c.share)
		c.share += share
	}
	m.done += share * u.work
	m.todo[u.phase] -= share * u.work
	m.layer = max(m.layer, u.layer)
	m.tell(what)
}

func (m *meter) tell(step string) {
	if m.report == nil {
		return
	}
	left := 0.
	for _, w := range m.todo {
		left += max(0, w)
	}
	m.report(Progress{Layer: m.layer, Layers: m.layers, Step: step, Done: m.done, Total: m.done + left, Left: m.timeLeft()})
}

// timeLeft estimates the time that the rest takes, 0 as long as nothing is
// known. Phases that have not been measured go as fast as those that have.
func (m *meter) timeLeft() time.Duration {
	made, spent := m.made, m.spent
	for u, c := range m.begun {
		made[u.phase] += c.share * u.work
		spent[u.phase] += time.Since(c.start)
	}
	var allMade, allSpent float64
	for p := range made {
		allMade, allSpent = allMade+made[p], allSpent+spent[p].Seconds()
	}
	if allMade == 0 {
		return 0
	}
	var seconds float64
	for p, w := range m.todo {
		rate := allSpent / allMade
		if made[p] > 0 {
			rate = spent[p].Seconds() / made[p]
		}
		seconds += max(0, w) * rate
	}
	return time.Duration(seconds / float64(m.workers) * float64(time.Second))
}
