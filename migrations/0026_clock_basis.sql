-- What tells how far a gateway's clock is ahead: the moment its messages say they were made ('sent'), or,
-- of gateways that don't say that, the newest stamp of a reading in each of them ('reading'). A reading is
-- never stamped after it was sent, so that one is a lower bound: short by the age of the freshest reading.
ALTER TABLE gateway_clock ADD COLUMN basis text NOT NULL DEFAULT 'sent' CHECK (basis IN ('sent', 'reading'));
