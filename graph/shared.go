package graph

import "reflect"

// sharedMemory is one value of every type that kernels of a plan asked for.
type sharedMemory map[reflect.Type]any

// Shared returns the plan's one value of type T, the zero value before anybody
// wrote to it. A plan's steps run one after the other, so kernels keep in it
// what they need only while they run: scratch memory, of which the plan then
// has one copy and not one per layer. T is the key; make it a type of your own.
//
// Another kernel may make the value's slices longer in its Prepare. So grow
// them in Prepare, and look them up in the step.
func Shared[T any](a *Args) *T {
	if a.shared == nil {
		a.shared = sharedMemory{}
	}
	key := reflect.TypeFor[T]()
	v, ok := a.shared[key].(*T)
	if !ok {
		v = new(T)
		a.shared[key] = v
	}
	return v
}
