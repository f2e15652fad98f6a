-- The register: what is maintained, how it fails, what it is made of.

CREATE TABLE asset_class (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenant,
    name       text NOT NULL,           -- 'centrifugal pump', 'turbofan', …
    -- Default life data of the class (Weibull), used until the class has failures of its own.
    -- NULL = nothing is known and the product says so.
    weibull_shape   double precision CHECK (weibull_shape > 0),
    weibull_scale_h double precision CHECK (weibull_scale_h > 0),
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, id)
);

CREATE TYPE asset_status AS ENUM ('operational', 'maintenance', 'down', 'in_storage', 'disposed');
CREATE TYPE asset_criticality AS ENUM ('low', 'medium', 'high', 'critical');

CREATE TABLE asset (
    id             uuid PRIMARY KEY,
    tenant_id      uuid NOT NULL REFERENCES tenant,
    site_id        uuid NOT NULL,
    area_id        uuid,
    class_id       uuid NOT NULL,
    parent_id      uuid,
    name           text NOT NULL,
    status         asset_status NOT NULL DEFAULT 'operational',
    criticality    asset_criticality NOT NULL DEFAULT 'medium',
    -- Printed on the machine as a QR code. Opaque, so that ids are not enough to guess a neighbour's.
    qr_token       text NOT NULL UNIQUE,
    manufacturer   text,
    model          text,
    serial_number  text,
    installed_at   timestamptz,
    external_ref   text,                -- id in another system (BIM object, ERP equipment)
    attributes     jsonb NOT NULL DEFAULT '{}',
    -- Hourly cost of standing still, in the tenant's currency; drives advice and priority.
    downtime_cost_per_h double precision CHECK (downtime_cost_per_h >= 0),
    row_version    integer NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, site_id, name),
    CHECK (parent_id <> id),
    FOREIGN KEY (tenant_id, site_id)   REFERENCES site (tenant_id, id),
    FOREIGN KEY (tenant_id, area_id)   REFERENCES area (tenant_id, id),
    FOREIGN KEY (tenant_id, class_id)  REFERENCES asset_class (tenant_id, id),
    FOREIGN KEY (tenant_id, parent_id) REFERENCES asset (tenant_id, id)
);
CREATE INDEX asset_parent_idx ON asset (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX asset_site_idx ON asset (tenant_id, site_id);

-- How a class can fail. tenant_id as everywhere; codes are the tenant's own words.
CREATE TABLE failure_mode (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL REFERENCES tenant,
    class_id      uuid NOT NULL,
    code          text NOT NULL,        -- 'bearing_wear'
    name          text NOT NULL,        -- 'Bearing wear'
    mechanism     text,
    -- Where it shows: {"channels": ["vibration*", "bearing_temperature*"]}, names or labels with *.
    signature     jsonb NOT NULL DEFAULT '{}',
    -- Days between "can be detected" and "has failed" (SAE JA1011 P-F interval).
    pf_interval_days double precision CHECK (pf_interval_days > 0),
    required_skill   text,
    repair_hours     double precision CHECK (repair_hours >= 0),
    repair_cost      double precision CHECK (repair_cost >= 0),
    UNIQUE (class_id, code),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, class_id) REFERENCES asset_class (tenant_id, id)
);

-- Bill of materials: which parts an asset needs, and for which failure mode.
CREATE TABLE bom_item (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL REFERENCES tenant,
    asset_id        uuid NOT NULL,
    failure_mode_id uuid,
    part_number     text NOT NULL,
    description     text NOT NULL,
    quantity        numeric NOT NULL CHECK (quantity > 0),
    unit            text NOT NULL DEFAULT '1',
    lead_time_days  double precision CHECK (lead_time_days >= 0),
    UNIQUE NULLS NOT DISTINCT (asset_id, part_number, failure_mode_id),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id),
    FOREIGN KEY (tenant_id, failure_mode_id) REFERENCES failure_mode (tenant_id, id)
);

-- A failure that happened: the label of every model and the numerator of MTBF.
CREATE TABLE failure_report (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL REFERENCES tenant,
    asset_id        uuid NOT NULL,
    failure_mode_id uuid,
    failed_at       timestamptz NOT NULL,
    source          text NOT NULL CHECK (source IN ('ticket', 'person', 'import', 'signal')),
    weight          double precision NOT NULL DEFAULT 1 CHECK (weight > 0 AND weight <= 1),
    note            text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (asset_id, failure_mode_id, failed_at),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id),
    FOREIGN KEY (tenant_id, failure_mode_id) REFERENCES failure_mode (tenant_id, id)
);
