package control

// MayAsk reports why a daemon that runs as uid does not serve a peer.
func MayAsk(peerUID uint32, uid int) error {
	return peer{uid: peerUID, by: UserName(peerUID)}.mayAsk(uid)
}

// WireError sends an error over the wire and back.
func WireError(err error) (*Error, int) {
	wire := errorOf(err)
	return wire, wire.status()
}

// WireErrors sends a joined error over the wire.
var WireErrors = errorsOf
