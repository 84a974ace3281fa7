package mqttd

import (
	"reflect"
	"testing"
)

// TestSmall: what each client has one of is no larger than what it is allocated in, of which the
// next is 32 bytes more.
func TestSmall(t *testing.T) {
	for of, most := range map[reflect.Type]uintptr{reflect.TypeFor[conn](): 320, reflect.TypeFor[state](): 256} {
		if n := of.Size(); n > most {
			t.Errorf("%v is %d bytes, want at most %d", of, n, most)
		}
	}
}
