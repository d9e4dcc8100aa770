package control

// MayAsk reports why a daemon that runs as uid does not serve a peer.
func MayAsk(peerUID uint32, uid int) error {
	return Access{}.may(peer{uid: peerUID, by: UserName(peerUID)}, uid, toRead)
}

// MayTake reports why a daemon that runs as uid gives no keys to a peer.
func MayTake(a Access, peerUID uint32, uid int) error {
	return a.may(peer{uid: peerUID, by: UserName(peerUID)}, uid, toTake)
}

// WireError sends an error over the wire and back.
func WireError(err error) (*Error, int) {
	wire := errorOf(err)
	return wire, wire.status()
}

// WireErrors sends a joined error over the wire.
var WireErrors = errorsOf

// Needs lists what each route needs, by its pattern.
func Needs() map[string]string {
	all := map[string]string{}
	for _, r := range (&Server{}).routes() {
		all[r.pattern] = string(r.needs)
	}
	for _, r := range (&Server{}).streams() {
		all[r.pattern] = string(r.needs)
	}
	return all
}
